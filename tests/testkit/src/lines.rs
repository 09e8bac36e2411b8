//! Log lines as a web server writes them: the same for everyone, and of every shape that a line can have.

use std::fmt::Write as _;

/// `count` lines of a log, each with its line feed, made from a fixed seed. Most are access-log lines of 60 to 200
/// bytes; some are empty, some are stack traces, some hold tabs, quotes and letters beyond ASCII.
pub fn log_lines(count: usize) -> Vec<u8> {
    let mut log = String::with_capacity(count.saturating_mul(120));
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: u64| {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    };
    let paths = ["/", "/index.html", "/api/v2/orders", "/api/v2/customers", "/static/app.js", "/search?q=b%C3%A4r"];
    let agents =
        ["curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "kube-probe/1.33"];
    let mut second = 0_u64;
    for number in 0..count {
        second += next(3);
        let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
        match next(200) {
            0 => {}
            1 => log.push_str("\tat org.example.Söwas.zählen(Söwas.java:42) \"… weiter\""),
            2 => _ = write!(log, "ERROR {number} {}", "x".repeat(next(3000) as usize)),
            _ => {
                _ = write!(
                    log,
                    "10.{}.{}.{} - - [22/Nov/2026:{hour:02}:{minute:02}:{:02} +0000] \"{} {}/{} HTTP/1.1\" {} {} \"-\" \"{}\"",
                    next(4),
                    next(256),
                    next(256),
                    second % 60,
                    if next(5) == 0 { "POST" } else { "GET" },
                    paths[next(6) as usize],
                    next(100_000),
                    [200, 200, 200, 304, 404, 500][next(6) as usize],
                    next(1_000_000),
                    agents[next(3) as usize],
                );
            }
        }
        log.push('\n');
    }
    log.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_the_same_each_time() {
        let log = log_lines(10_000);
        assert_eq!(log.iter().filter(|byte| **byte == b'\n').count(), 10_000);
        assert_eq!(log, log_lines(10_000));
        assert!(log.windows(2).any(|pair| pair == b"\n\n"), "some lines are empty");
        assert!(log.split(|byte| *byte == b'\n').any(|line| line.len() > 2000), "some lines are long");
    }
}
