// PyTorch's introduction to automatic differentiation in Rust, with nothing but its standard library.
// rustc --edition 2021 tutorial.rs && ./tutorial [http://127.0.0.1:8000]

use std::fmt;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

// One layer, z = x w + b, and its loss against y. w and b are the parameters, so they require a gradient.
const CONSTANTS: &str = r#"
    "x": [1, 1, 1, 1, 1],
    "y": [0, 0, 0],
    "w": {
      "data": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]],
      "requires_grad": true
    }"#;
const TRAINED: &str = r#""b": {"data": [0.5, 0.1, 0.2], "requires_grad": true}"#;
const FROZEN: &str = r#""b": [0.5, 0.1, 0.2]"#;
const OPS: &str = r#"
    {"op": "matmul", "inputs": ["x", "w"], "output": "xw"},
    {"op": "add", "inputs": ["xw", "b"], "output": "z"},
    {"op": "binary_cross_entropy_with_logits", "inputs": ["z", "y"], "output": "loss"}"#;
const UNTRACKED: &str = r#"
    {"op": "add", "inputs": ["xw", "b"], "output": "z_no_grad", "no_grad": true},
    {"op": "detach", "inputs": ["z"], "output": "z_detached"}"#;

fn main() -> Result<()> {
    let server = std::env::args().nth(1).unwrap_or("http://127.0.0.1:8000".into());
    let gradients = |request: String| post(&server, "/v1/gradients", &request);
    let graph = format!(r#"{{"tensors": {{{CONSTANTS}, {TRAINED}}}, "ops": [{OPS}]}}"#);

    println!("# Forward and backward are one call. The values, and the functions that will carry their gradients back:");
    let first = gradients(format!(r#"{{"graph": {graph}, "outputs": ["z", "loss"]}}"#))?;
    println!("z = {}", first.at("outputs").at("z").at("data"));
    println!("loss = {}", first.at("outputs").at("loss").at("data"));
    println!("z.grad_fn = {}", node(&first, "z").at("grad_fn"));
    println!("loss.grad_fn = {}", node(&first, "loss").at("grad_fn"));

    println!("# The gradients of the loss, which loss.backward() leaves in w.grad and b.grad:");
    println!("w.grad = {}", first.at("gradients").at("w").at("data"));
    println!("b.grad = {}", first.at("gradients").at("b").at("data"));

    println!("# Gradients accumulate onto those that are sent along, as a second backward() adds to .grad:");
    let earlier = first.at("gradients").at("b"); // a tensor of a reply can go into a request as it is
    let second = gradients(format!(r#"{{"graph": {graph}, "wrt": ["b"], "accumulate": {{"b": {earlier}}}}}"#))?;
    println!("b.grad, accumulated = {}", second.at("gradients").at("b").at("data"));

    println!("# What no_grad and detach keep out of the record does not require a gradient:");
    let more = format!(r#"{{"tensors": {{{CONSTANTS}, {TRAINED}}}, "ops": [{OPS}, {UNTRACKED}]}}"#);
    let third = gradients(format!(r#"{{"graph": {more}, "backward": "loss"}}"#))?;
    for name in ["z", "z_no_grad", "z_detached"] {
        println!("{name}.requires_grad = {}", node(&third, name).at("requires_grad"));
    }

    println!("# A frozen parameter is a tensor like any other: b gets no gradient when it does not require one.");
    let frozen = format!(r#"{{"tensors": {{{CONSTANTS}, {FROZEN}}}, "ops": [{OPS}]}}"#);
    let fourth = gradients(format!(r#"{{"graph": {frozen}, "dag": false}}"#))?;
    let names = fourth.at("gradients").members().iter().map(|(name, _)| Json::Text(name.clone())).collect();
    println!("gradients, b frozen = {}", Json::List(names));
    Ok(())
}

/// The node of that name in the reply's DAG.
fn node<'a>(reply: &'a Json, name: &str) -> &'a Json {
    let Json::List(nodes) = reply.at("dag").at("nodes") else { panic!("the reply has no DAG") };
    let wanted = Json::Text(name.into());
    nodes.iter().find(|node| *node.at("name") == wanted).expect("a node of that name")
}

/// Post a request over a connection of its own and read the reply, which ends where the server closes it.
fn post(server: &str, path: &str, body: &str) -> Result<Json> {
    let host = server.trim_start_matches("http://").trim_end_matches('/');
    let mut connection = TcpStream::connect(host)?;
    write!(
        connection,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    let (head, json) = reply.split_once("\r\n\r\n").ok_or(Error::from(ErrorKind::UnexpectedEof))?;
    // A problem document says what is wrong, where in the request, and how to mend it.
    if head.split(' ').nth(1) != Some("200") {
        return Err(Error::other(json));
    }
    Ok(Reader { rest: json }.value())
}

/// As much JSON as this page needs: text has no escapes, and what is malformed panics.
#[derive(PartialEq)]
enum Json {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn members(&self) -> &[(String, Json)] {
        let Json::Object(members) = self else { panic!("{self} is no object") };
        members
    }

    fn at(&self, name: &str) -> &Json {
        let found = self.members().iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("there is no {name} in {self}")).1
    }
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let joined = |items: Vec<String>| items.join(", ");
        match self {
            Json::Null => write!(out, "null"),
            Json::Flag(flag) => write!(out, "{flag}"),
            Json::Number(number) => write!(out, "{number}"),
            Json::Text(text) => write!(out, "\"{text}\""),
            Json::List(items) => write!(out, "[{}]", joined(items.iter().map(Json::to_string).collect())),
            Json::Object(members) => {
                let written = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                write!(out, "{{{}}}", joined(written))
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self) -> Json {
        match self.peek() {
            '{' => Json::Object(self.items('}', |reader| (reader.text(), reader.value_after(':')))),
            '[' => Json::List(self.items(']', Reader::value)),
            '"' => Json::Text(self.text()),
            _ => self.word(),
        }
    }

    /// The first character that is not white space; it stays.
    fn peek(&mut self) -> char {
        self.rest = self.rest.trim_start();
        self.rest.chars().next().expect("more JSON")
    }

    fn skip(&mut self, expected: char) {
        assert_eq!(self.peek(), expected);
        self.rest = &self.rest[1..];
    }

    fn value_after(&mut self, mark: char) -> Json {
        self.skip(mark);
        self.value()
    }

    /// What stands between brackets, separated by commas.
    fn items<T>(&mut self, end: char, item: fn(&mut Self) -> T) -> Vec<T> {
        let begin = self.peek();
        self.skip(begin);
        let mut found = Vec::new();
        while self.peek() != end {
            if !found.is_empty() {
                self.skip(',');
            }
            found.push(item(self));
        }
        self.skip(end);
        found
    }

    fn text(&mut self) -> String {
        self.skip('"');
        let (text, rest) = self.rest.split_once('"').expect("the end of a string");
        self.rest = rest;
        text.into()
    }

    fn word(&mut self) -> Json {
        let end = self.rest.find([',', ']', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word.trim() {
            "null" => Json::Null,
            "true" => Json::Flag(true),
            "false" => Json::Flag(false),
            number => Json::Number(number.parse().expect("a number")),
        }
    }
}
