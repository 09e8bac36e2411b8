//! `rkafka config`.

use rkafka::admin::AdminConfig;
use rkafka::client::ClientSettings;
use rkafka::config::{Entry, Settings};
use rkafka::consumer::ConsumerConfig;
use rkafka::producer::ProducerConfig;

use crate::args::{self, ConfigCommand, Explain};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::settings::{self, Given, Source};

const COLUMNS: &[Column] = &[always("name"), always("value"), always("source")];

/// Runs the command.
pub fn run(args: &args::Config) -> Result<Exit, Failure> {
    let ConfigCommand::Explain(args) = &args.command;
    explain(args)
}

fn explain(args: &Explain) -> Result<Exit, Failure> {
    let given = settings::gather(&args.connection)?;
    for name in &args.names {
        settings::find(name).ok_or_else(|| Failure::usage(settings::unknown(name)))?;
    }
    let mut rows = Listing::new(COLUMNS);
    let mut entries = entries_of::<ProducerConfig>(&given)?;
    for more in [entries_of::<ConsumerConfig>(&given)?, entries_of::<AdminConfig>(&given)?] {
        for entry in more {
            if !entries.iter().any(|known| known.name == entry.name) {
                entries.push(entry);
            }
        }
    }
    let is_asked = |name: &str| {
        args.names.is_empty()
            || args.names.iter().any(|asked| settings::find(asked).is_some_and(|doc| doc.name == name))
    };
    for entry in entries.iter().filter(|entry| is_asked(entry.name)) {
        let source = given
            .iter()
            .rev()
            .find(|given| settings::find(&given.name).is_some_and(|doc| doc.name == entry.name))
            .map(|given| &given.source);
        if args.given && matches!(source, None | Some(Source::Ours)) {
            continue;
        }
        let source = source.map_or_else(|| "default".to_owned(), Source::to_string);
        rows.row(entry.name, [entry.name.into(), entry.value.as_str().into(), source.into()]);
    }
    rows.print(&args.form)?;
    Ok(Exit::Ok)
}

fn entries_of<C: Settings + ClientSettings>(given: &[Given]) -> Result<Vec<Entry>, Failure> {
    // What only another kind of client has a use for is shown with that one.
    let own: Vec<Given> = given
        .iter()
        .filter(|given| knows::<C>(&given.name) || settings::find(&given.name).is_none())
        .cloned()
        .collect();
    Ok(connect::from_given::<C>(&own)?.entries())
}

fn knows<C: Settings>(name: &str) -> bool {
    C::describe().iter().any(|known| known.name == name || known.aliases.contains(&name))
}
