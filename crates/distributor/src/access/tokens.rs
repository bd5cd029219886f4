//! Static tokens: a file with the digest and the rights of each.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgherald_core::__private::host::errors;
use pgherald_core::Result;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use super::grant::Grant;
use super::rights::Rights;
use super::secret::{Digest, random};
use super::validity::Validity;
use crate::file::FileState;

/// How often the file is compared with what was read.
const INTERVAL: Duration = Duration::from_secs(1);

/// The beginning of a token. Scanners for leaked secrets find it.
const PREFIX: &str = "pgherald_";

/// One line of a file of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLine {
    /// Names the token in the access log.
    pub name: String,
    /// The SHA-256 of the token, as 64 hexadecimal digits.
    pub sha256: String,
    /// When the token ends. `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
    /// What the token permits.
    pub rights: Rights,
}

impl TokenLine {
    /// Makes a random token and its line. The token itself is nowhere else, so pass it on at once.
    ///
    /// ```
    /// use pgherald_distributor::{Rights, TableRights, TokenLine};
    ///
    /// let rights = Rights { tables: vec![TableRights::all("public.users")], ..Rights::default() };
    /// let (token, line) = TokenLine::generate("dashboard", rights, None)?;
    /// assert!(token.starts_with("pgherald_"));
    /// assert!(line.to_json().starts_with(r#"{"name":"dashboard","sha256":""#));
    /// # Ok::<(), pgherald_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the pattern of a table is malformed, or the operating system has no random numbers.
    pub fn generate(
        name: impl Into<String>,
        rights: Rights,
        expires: Option<jiff::Timestamp>,
    ) -> Result<(String, Self)> {
        let name = name.into();
        Grant::new(&*name, &rights)?;
        let secret = random().map_err(|cause| {
            let message = "cannot make a token: the operating system has no random numbers";
            errors::bad_access_because(message.to_owned(), cause)
        })?;
        let token = format!("{PREFIX}{secret}");
        let sha256 = Digest::of(&token).to_string();
        let line = Self {
            name,
            sha256,
            expires,
            rights,
        };
        Ok((token, line))
    }

    /// Returns the line without its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, times and lists of them can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The tokens of a file.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<Digest, Entry>);

#[derive(Debug)]
struct Entry {
    line: TokenLine,
    grant: Grant,
}

impl Tokens {
    /// Parses a file. Empty lines and lines that begin with `#` are skipped.
    fn parse(text: &str) -> std::result::Result<Self, BadLine> {
        let mut tokens = HashMap::new();
        for (number, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let bad = |problem: String| BadLine {
                number: number + 1,
                problem,
            };
            let line: TokenLine =
                serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
            let digest = Digest::from_hex(&line.sha256);
            let digest =
                digest.ok_or_else(|| bad("sha256 is not 64 hexadecimal digits".to_owned()))?;
            let grant = Grant::new(&*line.name, &line.rights);
            let grant = grant.map_err(|error| bad(error.chain()))?;
            if let Some(Entry { line: other, .. }) = tokens.get(&digest) {
                return Err(bad(format!(
                    "the token has a line already, named {:?}",
                    other.name
                )));
            }
            tokens.insert(digest, Entry { line, grant });
        }
        Ok(Self(tokens))
    }
}

/// A line that cannot be read.
#[derive(Debug)]
struct BadLine {
    number: usize,
    problem: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.problem)
    }
}

impl std::error::Error for BadLine {}

/// A file of tokens, which is read again when it changes.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile {
    tokens: watch::Receiver<Arc<Tokens>>,
}

impl TokenFile {
    /// Reads the file, and starts a task that reads it again.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|cause| {
            let message =
                "a file of tokens is read by a task of the current runtime, and there is none";
            errors::bad_access_because(message.to_owned(), cause)
        })?;
        let (state, read) = (FileState::of(path), read(path)?);
        let (sender, tokens) = watch::channel(Arc::new(read));
        runtime.spawn(watch_file(path.to_owned(), state, sender));
        Ok(Self { tokens })
    }

    /// Returns the grant of a token. Its validity ends when the file no longer has the same line.
    pub(crate) fn grant(&self, token: &str) -> Option<Grant> {
        let digest = Digest::of(token);
        let tokens = self.tokens.borrow().clone();
        let entry = tokens.0.get(&digest)?;
        let line = Line {
            tokens: self.tokens.clone(),
            digest,
            line: entry.line.clone().into(),
        };
        let mut validity = Validity::of_line(line);
        if let Some(expires) = entry.line.expires {
            validity = validity.until(SystemTime::from(expires));
        }
        Some(entry.grant.clone().with_validity(validity))
    }
}

/// The line of a file to which a grant belongs.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    tokens: watch::Receiver<Arc<Tokens>>,
    digest: Digest,
    line: Arc<TokenLine>,
}

impl Line {
    fn is_in(tokens: &Tokens, digest: &Digest, line: &TokenLine) -> bool {
        let entry = tokens.0.get(digest);
        entry.is_some_and(|entry| entry.line == *line)
    }

    /// Whether the file no longer has the line.
    pub(crate) fn is_gone(&self) -> bool {
        !Self::is_in(&self.tokens.borrow(), &self.digest, &self.line)
    }

    /// Waits until the file no longer has the line. Cancel safe.
    pub(crate) async fn gone(&mut self) {
        let Self {
            tokens,
            digest,
            line,
        } = self;
        let gone = tokens.wait_for(|tokens| !Self::is_in(tokens, digest, line));
        if gone.await.is_err() {
            // The task that reads the file ends with its runtime.
            std::future::pending::<()>().await;
        }
    }
}

fn read(path: &Path) -> Result<Tokens> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|cause| {
        errors::bad_access_because(format!("cannot read the tokens in {shown}"), cause)
    })?;
    Tokens::parse(&text).map_err(|cause| {
        let message = format!(
            "cannot use the tokens in {shown}; each line is a token as pgherald token new prints it"
        );
        errors::bad_access_because(message, cause)
    })
}

/// Reads the file again after each change. A file that cannot be used changes nothing: the tokens that were read before stay, and an
/// error is logged.
async fn watch_file(path: PathBuf, mut state: FileState, tokens: watch::Sender<Arc<Tokens>>) {
    loop {
        tokio::select! {
            // Neither the access nor a grant is left.
            () = tokens.closed() => return,
            () = sleep(INTERVAL) => {}
        }
        let now = FileState::of(&path);
        if now == state {
            continue;
        }
        state = now;
        match read(&path) {
            Ok(read) => {
                tracing::info!(path = %path.display(), tokens = read.0.len(), "tokens were read again");
                tokens.send_replace(Arc::new(read));
            }
            Err(error) => {
                tracing::error!(path = %path.display(), error = error.chain(), "the earlier tokens stay valid");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TokenLine, Tokens};
    use crate::access::Rights;

    #[test]
    fn a_file_has_one_token_in_each_line() {
        let (_, line) = TokenLine::generate("a", Rights::everything(), None).unwrap();
        let (_, other) =
            TokenLine::generate("b", Rights::default(), "2030-01-01T00:00:00Z".parse().ok())
                .unwrap();
        let file = format!(
            "# two tokens\n{}\n\n  {}\r\n",
            line.to_json(),
            other.to_json()
        );
        assert_eq!(Tokens::parse(&file).unwrap().0.len(), 2);
        assert!(Tokens::parse("").unwrap().0.is_empty());
        assert!(other.to_json().contains("2030"));
    }

    #[test]
    fn bad_lines_are_named() {
        let (_, line) = TokenLine::generate("a", Rights::default(), None).unwrap();
        let good = line.to_json();
        let problem = |line: &str| {
            let file = format!("{good}\n{line}");
            Tokens::parse(&file).unwrap_err().to_string()
        };
        assert_eq!(
            problem(&good),
            "line 2: the token has a line already, named \"a\""
        );
        assert!(problem("{").starts_with("line 2: "));
        for (from, to) in [
            (r#""sha256":""#, r#""sha256":"x"#),
            (r#""rights":{"#, r#""rigths":{"#),
            (r#""tables":[]"#, r#""tables":["users"]"#),
            (r#""name":"a","#, ""),
            (r#""name":"a""#, r#""name":"a","expires":"tomorrow""#),
        ] {
            let line = good.replace(from, to);
            assert_ne!(line, good);
            assert!(problem(&line).starts_with("line 2: "), "{line}");
        }
    }
}
