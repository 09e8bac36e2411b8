//! A small registry on a loopback port: it really keeps schemas, and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What the next request meets in place of an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status with this body.
    Answer(u16, String),
    /// The connection is closed without a word.
    Close,
    /// Half an answer, then the connection is closed.
    Half,
    /// No answer for as long as the client holds the connection.
    Silence,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

#[derive(Default)]
struct State {
    /// Schema texts with their other fields; the id is the position plus one.
    schemas: Vec<Value>,
    /// Subject to the ids of its versions; a deleted version is `None`.
    subjects: BTreeMap<String, Vec<Option<usize>>>,
    configs: BTreeMap<String, Value>,
    faults: VecDeque<Fault>,
    seen: Vec<Seen>,
}

pub struct Registry {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Registry {
    /// Begins to listen. The thread ends with the test process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), state) = (stream, Arc::clone(&shared)) else { break };
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().expect("the state").faults.extend(faults);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("the state").seen.clone()
    }

    /// Puts a schema there as it is, with whatever fields, and gives its id.
    pub fn put(&self, subject: &str, schema: Value) -> i32 {
        let mut state = self.state.lock().expect("the state");
        state.schemas.push(schema);
        let id = state.schemas.len();
        state.subjects.entry(subject.to_owned()).or_default().push(Some(id));
        i32::try_from(id).expect("few schemas")
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    let Some(request) = read_request(&mut reader) else { return };
    let fault = {
        let mut state = state.lock().expect("the state");
        state.seen.push(request.clone());
        state.faults.pop_front()
    };
    let (status, body) = match fault {
        None => {
            let (status, body) = answer(&mut state.lock().expect("the state"), &request);
            (status, body.to_string())
        }
        Some(Fault::Answer(status, body)) => (status, body),
        Some(Fault::Close) => return,
        Some(Fault::Half) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[\"half");
            return;
        }
        Some(Fault::Silence) => {
            // Ends when the client closes its side.
            let _ = reader.read(&mut [0; 1]);
            return;
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { method, target, headers, body: String::from_utf8(body).ok()? })
}

fn refuse(status: u16, code: i32) -> (u16, Value) {
    (status, json!({"error_code": code, "message": format!("refused with {code}")}))
}

fn registered(state: &State, subject: &str, version: usize) -> Value {
    let id = state.subjects[subject][version - 1].expect("a version that is there");
    let mut whole = state.schemas[id - 1].clone();
    whole["subject"] = json!(subject);
    whole["version"] = json!(version);
    whole["id"] = json!(id);
    whole["fromTheFuture"] = json!({"x": 1});
    whole
}

/// The position of a schema among those known, equal in every field.
fn known(state: &State, body: &Value) -> Option<usize> {
    state.schemas.iter().position(|schema| schema == body).map(|position| position + 1)
}

fn answer(state: &mut State, request: &Seen) -> (u16, Value) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    // Segments stay as they are on the wire, so a subject is known by its encoded name.
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["schemas", "types"]) => (200, json!(["AVRO"])),
        ("GET", ["schemas", "ids", id]) => {
            let schema = id.parse::<usize>().ok().and_then(|id| state.schemas.get(id.checked_sub(1)?));
            schema.map_or_else(|| refuse(404, 40403), |schema| (200, schema.clone()))
        }
        ("GET", ["subjects"]) => (200, json!(state.subjects.keys().collect::<Vec<_>>())),
        ("GET", ["config"]) => (200, json!({"compatibilityLevel": "BACKWARD"})),
        ("PUT", ["config", subject]) => {
            state.configs.insert((*subject).to_owned(), body.clone());
            (200, body)
        }
        ("GET", ["config", subject]) => match state.configs.get(*subject) {
            Some(config) => (200, json!({"compatibilityLevel": config["compatibility"]})),
            None if query.contains("defaultToGlobal=true") => (200, json!({"compatibilityLevel": "BACKWARD"})),
            None => refuse(404, 40408),
        },
        ("DELETE", ["config", subject]) => {
            state.configs.remove(*subject).map_or_else(|| refuse(404, 40401), |old| (200, old["compatibility"].clone()))
        }
        ("POST", ["subjects", subject, "versions"]) => {
            if state.configs.get(*subject).is_some_and(|config| config["compatibility"] == "FULL")
                && state.subjects.contains_key(*subject)
                && known(state, &body).is_none()
            {
                // The older spelling; the newer is met as a fault.
                return refuse(409, 409);
            }
            let id = known(state, &body).unwrap_or_else(|| {
                state.schemas.push(body);
                state.schemas.len()
            });
            let versions = state.subjects.entry((*subject).to_owned()).or_default();
            if !versions.contains(&Some(id)) {
                versions.push(Some(id));
            }
            (200, json!({ "id": id }))
        }
        ("POST", ["compatibility", "subjects", subject, "versions", _]) => {
            if !state.subjects.contains_key(*subject) {
                return refuse(404, 40402);
            }
            let same = known(state, &body).is_some();
            (200, json!({"is_compatible": same, "messages": if same { json!([]) } else { json!(["it differs"]) }}))
        }
        (_, ["subjects", subject, ..]) if !state.subjects.contains_key(*subject) => refuse(404, 40401),
        ("POST", ["subjects", subject]) => {
            let id = known(state, &body);
            match state.subjects[*subject].iter().position(|version| version.is_some() && *version == id) {
                Some(position) => (200, registered(state, subject, position + 1)),
                None => refuse(404, 40403),
            }
        }
        ("DELETE", ["subjects", subject]) => {
            let versions = state.subjects.remove(*subject).unwrap_or_default();
            (200, json!((1..=versions.len()).collect::<Vec<_>>()))
        }
        ("GET", ["subjects", subject, "versions"]) => {
            let versions = state.subjects[*subject].iter().enumerate().filter(|(_, id)| id.is_some());
            (200, json!(versions.map(|(position, _)| position + 1).collect::<Vec<_>>()))
        }
        (method, ["subjects", subject, "versions", version]) => {
            let versions = &state.subjects[*subject];
            let number = match *version {
                "latest" => versions.iter().rposition(Option::is_some).map(|position| position + 1),
                number => number.parse::<usize>().ok(),
            };
            let there = number.filter(|number| *number > 0 && matches!(versions.get(number - 1), Some(Some(_))));
            match (method, there) {
                (_, None) => refuse(404, 40402),
                ("DELETE", Some(number)) => {
                    state.subjects.get_mut(*subject).expect("it is there")[number - 1] = None;
                    (200, json!(number))
                }
                (_, Some(number)) => (200, registered(state, subject, number)),
            }
        }
        _ => (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"})),
    }
}
