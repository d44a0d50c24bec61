//! The smallest HTTP client that can tell whether a local service answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The status of `HEAD path` at a loopback port; `None` when nothing answers.
pub(crate) fn head(port: u16, path: &str) -> Option<u16> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    status(stream, path)
}

/// The status of `HEAD path` at a Unix socket; `None` when nothing answers.
pub(crate) fn head_unix(socket: &Path, path: &str) -> Option<u16> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    status(stream, path)
}

/// A loopback port nobody listens on: `wanted` when it is free.
pub(crate) fn free_port(wanted: u16) -> std::io::Result<u16> {
    let listener =
        TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?.port())
}

fn status(mut stream: impl Read + Write, path: &str) -> Option<u16> {
    const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
                          application/vnd.docker.distribution.manifest.v2+json";
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 12]; // "HTTP/1.1 200"
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer)
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Result, Write};

    struct Canned(Cursor<Vec<u8>>);

    impl Read for Canned {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Canned {
        fn write(&mut self, data: &[u8]) -> Result<usize> {
            Ok(data.len())
        }
        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_status_is_the_second_word_and_anything_else_is_no_answer() {
        let status = |text: &str| super::status(Canned(Cursor::new(text.into())), "/");
        assert_eq!(status("HTTP/1.1 404 Not Found\r\n\r\n"), Some(404));
        assert_eq!(status("HTTP/1.1 OK\r\n\r\n"), None);
        assert_eq!(status(""), None);
    }
}
