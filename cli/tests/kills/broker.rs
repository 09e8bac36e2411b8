//! The broker that is killed, and the dice that say when.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rkafka_testkit::{Child, eventually};

use crate::common;

/// Numbers that are the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// A number from 0 to below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// How often to kill, and when.
pub struct Kills {
    pub rounds: u64,
    pub dice: Dice,
}

impl Kills {
    /// What the environment says.
    #[expect(clippy::print_stderr, reason = "a test says its seed")]
    pub fn of_environment(few: u64) -> Self {
        let number_in = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let rounds = number_in("RKAFKA_KILLS").unwrap_or(few);
        let seed = number_in("RKAFKA_KILLS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        eprintln!("{rounds} kills, RKAFKA_KILLS_SEED={seed}");
        Self { rounds, dice: Dice(seed) }
    }
}

/// `rkafka broker run`, on one address for as long as the test runs.
pub struct Broker {
    child: Child,
    address: String,
    directory: PathBuf,
    settings: Vec<String>,
    /// How long it took until it was ready.
    pub took: Duration,
}

impl Broker {
    /// Starts a broker with its data in `directory`.
    pub async fn start(directory: &Path, settings: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let (child, took) = launch(&address, directory, &settings).await;
        Self { child, address, directory: directory.to_owned(), settings, took }
    }

    /// Where it is found, always.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Starts it again after it was killed.
    pub async fn start_again(&mut self) {
        (self.child, self.took) = launch(&self.address, &self.directory, &self.settings).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "starts are timed for the report")]
async fn launch(address: &str, directory: &Path, settings: &[String]) -> (Child, Duration) {
    // Somebody else may hold the port for a moment.
    eventually("the broker", || async {
        let mut command = common::rkafka();
        command.args(["broker", "run", "--listen", address, "--data-dir", directory.to_str().unwrap()]);
        for setting in settings {
            command.args(["-X", setting]);
        }
        let begun = Instant::now();
        let mut child = Child::spawn(&command, None, |command| {
            command.stderr(Stdio::piped());
        })
        .expect("a process");
        let stderr = child.stderr().expect("its stderr");
        let (told, heard) = std::sync::mpsc::channel();
        // What it says later must be taken too, or it would wait for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        let mut last = String::new();
        loop {
            match heard.recv() {
                Ok(line) if line.contains("ready on ") => return Ok((child, begun.elapsed())),
                Ok(line) => last = line,
                Err(_) => return Err(last),
            }
        }
    })
    .await
}
