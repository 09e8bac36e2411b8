//! Columns for people.

/// Lines the cells up in columns, two spaces apart, the first row as the head. Nothing trails.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or_default()).collect();
    let mut out = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows =
            [vec!["NAME".into(), "N".into()], vec!["a".into(), "10".into()], vec!["längeres".into(), String::new()]];
        assert_eq!(columns(&rows), "NAME      N\na         10\nlängeres\n");
        assert_eq!(columns(&[]), "");
    }
}
