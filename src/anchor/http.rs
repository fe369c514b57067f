//! One HTTP request to a configured server, with limits: no redirects, no proxy of the environment, answers of
//! a stated size.

use super::Fault;
use std::error::Error as _;

/// Longest address.
const URL_MAX: usize = 2048;

/// An `http:` or `https:` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(reqwest::Url);

impl Url {
    /// Reads an address. The error says what to mend; it does not repeat the address.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        let url = reqwest::Url::parse(text).ok().filter(|_| text.len() <= URL_MAX);
        let url = url.ok_or("is not an address such as https://witness.example/path")?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err("is not an http: or https: address");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a name or a password, which would stand in the configuration");
        }
        match url.query().is_some() || url.fragment().is_some() {
            true => Err("has a `?` or `#` part, which has no place here"),
            false => Ok(Url(url)),
        }
    }

    /// This address with another last segment.
    pub fn join(&self, name: &str) -> Url {
        let mut url = self.0.clone();
        // An http address can always have path segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(name);
        }
        Url(url)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Content type, empty where there is none.
    pub kind: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Makes requests. A connection serves one request: they are minutes apart.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client that trusts the system's certificate authorities. Where the system has none, `https:` fails
    /// at each request and `http:` works.
    pub fn new() -> Result<Client, String> {
        crate::dial::http(None).map(Client)
    }

    /// Posts a body and reads the answer, at most `longest` bytes of it. The caller limits the time.
    pub async fn post(
        &self,
        url: &Url,
        kind: &'static str,
        body: Vec<u8>,
        longest: usize,
    ) -> Result<Answer, Fault> {
        let request = self.0.post(url.0.clone()).header(reqwest::header::CONTENT_TYPE, kind).body(body);
        let mut response = request.send().await.map_err(|error| fault(&error))?;
        let status = response.status().as_u16();
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| fault(&error))? {
            if body.len() + part.len() > longest {
                return Err(Fault::TooLong);
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, kind, body })
    }
}

/// What an error means here. Its text is not used: it can hold what the server said.
fn fault(error: &reqwest::Error) -> Fault {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if is_tls(inner) {
            return Fault::Tls;
        }
        cause = inner.source();
    }
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => Fault::Timeout,
        (false, true) => Fault::Unreachable,
        (false, false) => Fault::Broken,
    }
}

/// Whether this is TLS's own error. It stands inside of I/O errors, which do not name it as their source.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inside.is_some_and(|inner| is_tls(inner))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn addresses() {
        let url = Url::parse("http://127.0.0.1:1234").unwrap();
        assert_eq!(url.join("add-checkpoint").to_string(), "http://127.0.0.1:1234/add-checkpoint");
        let url = Url::parse("https://w.example/a/b/").unwrap();
        assert_eq!(url.join("add-checkpoint").to_string(), "https://w.example/a/b/add-checkpoint");
        for bad in [
            "",
            "w.example",
            "ftp://w.example",
            "http://",
            "http://u:p@w.example",
            "http://w.example/?a",
            "http://w.example/#a",
        ] {
            let error = Url::parse(bad).unwrap_err();
            assert!(!error.contains("u:p"), "{error}");
        }
        assert!(Url::parse(&format!("http://w.example/{}", "a".repeat(3000))).is_err());
    }

    /// Answers one request with these bytes and closes.
    async fn answering(bytes: &'static [u8]) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            let _ = stream.write_all(bytes).await;
        });
        Url::parse(&format!("http://{address}/x")).unwrap()
    }

    #[tokio::test]
    async fn answers_and_what_is_none() {
        let client = Client::new().unwrap();
        let url = answering(
            b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 2\r\n\r\n7\n",
        )
        .await;
        let answer = client.post(&url, "text/plain", b"x".to_vec(), 100).await.unwrap();
        assert_eq!(
            (answer.status, answer.kind.as_str(), &answer.body[..]),
            (409, "text/x.tlog.size", &b"7\n"[..])
        );
        // A redirect is an answer, not a way to go.
        let url =
            answering(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 100).await.unwrap().status, 307);
        // Longer than announced to us, with and without a length.
        let url = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n").await;
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 11).await.unwrap_err(), Fault::TooLong);
        let url = answering(b"HTTP/1.1 200 OK\r\n\r\nhello world\n").await;
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 11).await.unwrap_err(), Fault::TooLong);
        let url = answering(b"SSH-2.0-x\r\n").await;
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 11).await.unwrap_err(), Fault::Broken);
        let url = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello").await;
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 100).await.unwrap_err(), Fault::Broken);
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Url::parse(&format!("http://{gone}/")).unwrap();
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 11).await.unwrap_err(), Fault::Unreachable);
        let url =
            Url::parse(&answering(b"this is no TLS").await.to_string().replace("http:", "https:")).unwrap();
        assert_eq!(client.post(&url, "text/plain", Vec::new(), 11).await.unwrap_err(), Fault::Tls);
    }
}
