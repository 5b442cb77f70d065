//! How fast a model scores rows, alone and in the server: `cargo bench --bench predict -- MODEL`.
//!
//! MODEL is a model directory, or a file of XGBoost's. `benches/predict/run.py` makes models, and times XGBoost and LightGBM on
//! as many rows in the same minutes.

#![allow(clippy::unwrap_used, reason = "a bench that cannot measure may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use serin::model::predictor::Predictor;

const ROWS: usize = 200_000;
const OF_A_REQUEST: usize = 64;
const CONNECTIONS: usize = 4;
const SERVING: Duration = Duration::from_secs(4);

fn main() {
    let models: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if models.is_empty() {
        println!("predict: name models, as in `cargo bench --bench predict -- model.ubj`");
    }
    for model in models {
        let predictor = Predictor::load(Path::new(&model)).unwrap();
        println!("{model}");
        score(&predictor);
        serve(&model, &predictor);
    }
}

/// Numbers between 0 and 1 that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        let Self(state) = self;
        *state = state.wrapping_mul(6_364_136_223_846_793_005);
        *state = state.wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// An instance by name.
fn instance(predictor: &Predictor, random: &mut Random) -> Map<String, Value> {
    let features = predictor.manifest().features.iter();
    let cell = |levels: &Option<Vec<String>>, at: f64| match levels {
        Some(levels) => json!(levels[(at * levels.len() as f64) as usize]),
        None => json!((at * 1e6).round() / 1e6),
    };
    features
        .map(|feature| (feature.name.clone(), cell(&feature.levels, random.next())))
        .collect()
}

fn score(predictor: &Predictor) {
    let mut random = Random(7);
    let encoder = predictor.encoder();
    let width = encoder.width();
    let mut rows = Vec::with_capacity(ROWS * width);
    for _ in 0..ROWS {
        let features = predictor.manifest().features.iter();
        rows.extend(features.map(|feature| match &feature.levels {
            Some(levels) => (random.next() * levels.len() as f64).floor() as f32,
            None => random.next() as f32,
        }));
    }
    let times = (0..7).map(|_| {
        let begin = Instant::now();
        assert!(!predictor.scores(&rows).unwrap().is_empty());
        begin.elapsed()
    });
    println!("  {ROWS} rows      {:>9.3?}", times.min().unwrap());
    let few = &rows[..2_000 * width];
    let times = (0..7).map(|_| {
        let begin = Instant::now();
        for row in few.chunks(width) {
            assert!(!predictor.scores(row).unwrap().is_empty());
        }
        begin.elapsed() / 2_000
    });
    println!("  one row          {:>9.3?}", times.min().unwrap());
}

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(model: &str, predictor: &Predictor) {
    let child = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["serve", "--port=0", "--model", model])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut server = Server(child.unwrap());
    let streams: [Box<dyn Read + Send>; 2] = [
        Box::new(server.0.stdout.take().unwrap()),
        Box::new(server.0.stderr.take().unwrap()),
    ];
    let (said, saying) = std::sync::mpsc::channel();
    for stream in streams {
        let said = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
    }
    let line = saying.iter().find(|line| line.contains("http://")).unwrap();
    let address = line.split("http://").nth(1).unwrap();
    let address = address.split('/').next().unwrap();
    let mut random = Random(9);
    let instances: Vec<Value> = (0..OF_A_REQUEST)
        .map(|_| instance(predictor, &mut random).into())
        .collect();
    let body = json!({ "instances": instances }).to_string();
    let length = body.len();
    let head = format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    let request = head + &body;
    let begin = Instant::now();
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| ask(address, request.as_bytes(), begin + SERVING)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    let a_second = answered as f64 / begin.elapsed().as_secs_f64();
    println!("  serve, {OF_A_REQUEST} rows by name {a_second:>6.0} a second");
}

/// Asks again and again on one connection; gives how often it was answered.
fn ask(address: &str, request: &[u8], until: Instant) -> usize {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut answered = 0;
    while Instant::now() < until {
        (&stream).write_all(request).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.starts_with("http/") {
                assert!(line.contains(" 200 "), "{line}");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        answered += 1;
    }
    answered
}
