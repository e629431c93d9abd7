//! What the kinds that speak HTTP share: the client, which answers may go better next time, bodies of bounded length.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};

/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait that an answer can ask for.
const LONGEST_WAIT: u64 = 86_400;

/// An address that jobs are sent to. Redirects are not followed, and no proxy of the environment is used: a job goes where
/// its operator said and nowhere else.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Url,
    client: Client,
    bearer: Option<HeaderValue>,
}

/// What is no address to send jobs to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not one at all, or of another scheme.
    #[error("`{url}` is no address to send jobs to: {why}; write `http://HOST:PORT/PATH` or `https://…`")]
    Url {
        /// As written, without what may be secret in it.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Its key cannot stand in a header.
    #[error("the endpoint's key is empty or holds characters that no header may; it is to be one line of ASCII")]
    Key,
    /// No client can be made.
    #[error("no HTTP client can be made: {why}")]
    Client {
        /// Why.
        why: String,
    },
}

impl Endpoint {
    /// Of `http` or `https`, without user and password in it.
    ///
    /// # Errors
    /// [`BadEndpoint`].
    pub fn new(url: &str) -> Result<Self, BadEndpoint> {
        let bad = |shown: &str, why: &str| BadEndpoint::Url { url: shown.chars().take(200).collect(), why: why.into() };
        let parsed = Url::parse(url).map_err(|error| bad("…", &error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad(
                parsed.host_str().unwrap_or("…"),
                "it holds a user or a password; give a key in a file instead",
            ));
        }
        if !matches!(parsed.scheme(), "http" | "https") {
            let shown = format!("{}:…", parsed.scheme());
            return Err(bad(&shown, "its scheme is neither `http` nor `https`"));
        }
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().connect_timeout(CONNECT);
        let client = client.build().map_err(|error| BadEndpoint::Client { why: chain(&error) })?;
        Ok(Self { url: parsed, client, bearer: None })
    }

    /// Sends `key` as bearer token with every request.
    ///
    /// # Errors
    /// [`BadEndpoint::Key`].
    pub fn bearer(mut self, key: &str) -> Result<Self, BadEndpoint> {
        let value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| BadEndpoint::Key)?;
        let mut value = Some(value).filter(|_| !key.is_empty()).ok_or(BadEndpoint::Key)?;
        value.set_sensitive(true);
        self.bearer = Some(value);
        Ok(self)
    }

    pub(super) fn request(&self, method: Method) -> RequestBuilder {
        self.request_to(method, self.url.clone())
    }

    /// To an address below it.
    pub(crate) fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer),
            None => request,
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(url: &str) -> Result<Self, BadEndpoint> {
        Self::new(url)
    }
}

/// An error with its causes, without the address: it may hold what is secret.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "no connection".to_owned()
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What an answer that is no success means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Never,
    Later,
    After(Duration),
}

/// The endpoint is busy or away (408, 425, 429, 502, 503, 504), or says when to come back; every other answer is final.
pub(super) fn next_attempt(status: StatusCode, headers: &HeaderMap) -> Next {
    let passing = matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504);
    let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    match wait {
        Some(seconds) if passing || status.is_server_error() => {
            Next::After(Duration::from_secs(seconds.min(LONGEST_WAIT)))
        }
        None if passing => Next::Later,
        Some(_) | None => Next::Never,
    }
}

/// A body that was not read whole.
#[derive(Debug)]
pub(crate) enum NoBody {
    TooLong,
    Broken(reqwest::Error),
}

/// The body, of at most `limit` bytes.
pub(crate) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, NoBody> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(NoBody::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(NoBody::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The beginning of a body that says why, for people.
pub(crate) async fn why(mut response: Response, bytes: usize) -> String {
    let mut said = Vec::new();
    while said.len() < bytes {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        said.extend_from_slice(&chunk);
    }
    said.truncate(bytes);
    let text = String::from_utf8_lossy(&said);
    text.trim().chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_without_secrets_in_it() {
        assert!(Endpoint::new("http://127.0.0.1:1/run").is_ok() && Endpoint::new("https://h/x?y=z").is_ok());
        for url in ["", "h:1", "ftp://h/", "file:///x", "http://u:secret@h/", "ftp://h/?key=secret"] {
            let error = Endpoint::new(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let endpoint = Endpoint::new("http://h/").unwrap();
        assert_eq!(endpoint.clone().bearer("a\nb").unwrap_err(), BadEndpoint::Key);
        assert_eq!(endpoint.clone().bearer("").unwrap_err(), BadEndpoint::Key);
        assert!(!format!("{:?}", endpoint.bearer("secret").unwrap()).contains("secret"));
    }

    #[test]
    fn busy_and_away_may_go_better_and_what_says_when_comes_back_then() {
        let of = |status: u16, wait: Option<&'static str>| {
            let headers = wait.map(|wait| (RETRY_AFTER, HeaderValue::from_static(wait)));
            next_attempt(StatusCode::from_u16(status).unwrap(), &headers.into_iter().collect())
        };
        for status in [408, 425, 429, 502, 503, 504] {
            assert_eq!(of(status, None), Next::Later, "{status}");
        }
        for status in [301, 400, 401, 404, 409, 422, 500, 501] {
            assert_eq!(of(status, None), Next::Never, "{status}");
        }
        assert_eq!(of(429, Some("7")), Next::After(Duration::from_secs(7)));
        assert_eq!(of(500, Some("7")), Next::After(Duration::from_secs(7)));
        assert_eq!(of(400, Some("7")), Next::Never);
        assert_eq!(of(503, Some("Fri, 01 Jan 2027 00:00:00 GMT")), Next::Later);
        assert_eq!(of(503, Some("99999999999")), Next::After(Duration::from_secs(LONGEST_WAIT)));
    }
}
