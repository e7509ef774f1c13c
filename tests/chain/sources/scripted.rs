//! Servers that say what a test wants, byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use test_support::backend::http::{Kind, read_message};

/// A server on loopback that handles each connection on a thread of its own, until the test ends.
pub struct Scripted {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
}

impl Scripted {
    pub fn start(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("is bound").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let handle = handle.clone();
                std::thread::spawn(move || handle(stream));
            }
        });
        Self { port, connections }
    }

    /// An HTTP server that answers each request, one on each connection, by its first line and its body.
    pub fn http(answer: impl Fn(&str, &str) -> Vec<u8> + Clone + Send + 'static) -> Self {
        Self::start(move |mut stream| {
            let deadline = Instant::now() + Duration::from_secs(20);
            let Ok(request) = read_message(&mut stream, Kind::Request, 16 << 20, deadline) else { return };
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let _ = stream.write_all(&answer(&request.first_line, &body));
            close(stream);
        })
    }

    /// A node's RPC interface: each request of a batch is answered with a result or an error.
    pub fn rpc(answer: impl Fn(&str, &Value) -> Result<Value, Value> + Clone + Send + 'static) -> Self {
        Self::http(move |_, body| {
            let one = |request: &Value| {
                let method = request["method"].as_str().expect("a method");
                let (result, error) = match answer(method, &request["params"]) {
                    Ok(result) => (result, Value::Null),
                    Err(error) => (Value::Null, error),
                };
                json!({ "jsonrpc": "2.0", "id": request["id"], "result": result, "error": error })
            };
            let request: Value = serde_json::from_str(body).expect("JSON");
            let response = match &request {
                Value::Array(requests) => Value::Array(requests.iter().map(one).collect()),
                request => one(request),
            };
            http(200, &response.to_string())
        })
    }

    /// A server of lines of JSON, as Electrum's.
    pub fn lines(answer: impl Fn(&str, &Value) -> Result<Value, Value> + Clone + Send + 'static) -> Self {
        Self::start(move |stream| {
            let mut reader = std::io::BufReader::new(stream.try_clone().expect("a second handle"));
            serve_lines(&mut reader, &mut &stream, &answer);
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Answers lines until the peer ends.
pub fn serve_lines(
    reader: &mut impl std::io::BufRead,
    writer: &mut impl Write,
    answer: &impl Fn(&str, &Value) -> Result<Value, Value>,
) {
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        let request: Value = serde_json::from_str(&line).expect("JSON");
        line.clear();
        let method = request["method"].as_str().expect("a method");
        let mut response = json!({ "jsonrpc": "2.0", "id": request["id"] });
        match answer(method, &request["params"]) {
            Ok(result) => response["result"] = result,
            Err(error) => response["error"] = error,
        }
        // A notification comes between.
        let notification =
            json!({ "jsonrpc": "2.0", "method": "blockchain.headers.subscribe", "params": [{}] });
        if writer.write_all(format!("{notification}\n{response}\n").as_bytes()).is_err() {
            return;
        }
        let _ = writer.flush();
    }
}

/// Closes so that what was sent arrives.
pub fn close(mut stream: TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut rest = [0; 1024];
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
}

/// A whole response.
pub fn http(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Words\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}
