//! `status --watch` on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::support::{DEADLINE, Scene, binary};

/// A pseudo terminal, and the binary that runs on it.
struct Screen {
    main: OwnedFd,
    child: Child,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(scene: &Scene, columns: u16, lines: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let main = openpt(flags).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let terminal = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        resize(&main, columns, lines);
        let before = tcgetattr(&terminal).unwrap();
        let mut command = binary();
        command.args(["--database-url", &scene.url, "status", "--watch"]);
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (File::from(main.try_clone().unwrap()), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(read @ 1..) = from.read(&mut piece) {
                to.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Self {
            main,
            child,
            before,
            shown,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Returns the lines of each complete drawing, without colours.
    fn frames(&self) -> Vec<Vec<String>> {
        let text = self.text();
        let drawings = text.split("\u{1b}[H").skip(1);
        let whole = drawings.filter_map(|drawing| drawing.split_once("\u{1b}[J"));
        whole
            .map(|(drawing, _)| drawing.split("\r\n").map(plain).collect())
            .collect()
    }

    async fn frame(&self, is_it: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            if let Some(frame) = self.frames().into_iter().find(|frame| is_it(frame)) {
                return frame;
            }
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.frames().last());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    async fn code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                begun.elapsed() < DEADLINE,
                "it does not end: {:?}",
                self.frames().last()
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Asserts that the terminal has its previous settings.
    async fn is_restored(&self) {
        let begun = Instant::now();
        while !self.text().ends_with("\u{1b}[?25h\u{1b}[?1049l") {
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.frames().last());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let after = tcgetattr(&self.main).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert!(
            after
                .local_modes
                .contains(LocalModes::ICANON | LocalModes::ECHO)
        );
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(main: &OwnedFd, columns: u16, lines: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(main, size).unwrap();
}

/// Returns a line without the codes of colours.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((text, code)) = rest.split_once('\u{1b}') {
        plain.push_str(text);
        let end = code.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        rest = &code[end + 1..];
    }
    plain + rest
}

async fn many_tables() -> Scene {
    let scene = Scene::new(
        "DO $$ BEGIN FOR n IN 10..59 LOOP EXECUTE format('CREATE TABLE a_table_with_a_long_name_%s (id int PRIMARY KEY)', n); END LOOP; END $$",
    )
    .await;
    let names: Vec<_> = (10..60)
        .map(|n| format!("a_table_with_a_long_name_{n}"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    scene
        .fine(&[&["install"], &names[..], &["--commit"]].concat())
        .await;
    scene
}

#[tokio::test]
async fn status_watch_fits_the_terminal_and_ends_with_q() {
    let scene = many_tables().await;
    let mut screen = Screen::start(&scene, 110, 20);
    let frame = screen
        .frame(|frame| frame.iter().any(|line| line == "Watched tables"))
        .await;
    assert_eq!(frame.len(), 20, "{frame:#?}");
    assert!(
        frame.iter().all(|line| line.chars().count() <= 110),
        "{frame:#?}"
    );
    assert!(frame[0].ends_with("every 2 s, q quits"), "{frame:#?}");
    let headings = frame
        .iter()
        .find(|line| line.starts_with("TABLE "))
        .unwrap();
    for heading in [
        "MODE",
        "CHANNEL",
        "OPERATIONS",
        "KEY",
        "COLUMNS",
        "TRIGGERS",
        "STATE",
    ] {
        assert!(headings.contains(heading), "{headings}");
    }
    assert!(
        frame.iter().any(|line| line.contains("…  notify")),
        "{frame:#?}"
    );
    let hidden = frame.last().unwrap();
    assert!(
        hidden.starts_with("… ") && hidden.ends_with(" more rows"),
        "{hidden}"
    );
    // Other keys than q do not quit.
    File::from(screen.main.try_clone().unwrap())
        .write_all(b"x\x1b[A\n")
        .unwrap();
    // Enlarge the terminal.
    resize(&screen.main, 200, 80);
    let frame = screen.frame(|frame| frame.len() > 20).await;
    assert!(
        frame
            .iter()
            .any(|line| line.contains("a_table_with_a_long_name_59")),
        "{frame:#?}"
    );
    assert!(!frame.iter().any(|line| line.contains('…')), "{frame:#?}");
    assert!(screen.child.try_wait().unwrap().is_none());
    File::from(screen.main.try_clone().unwrap())
        .write_all(b"q")
        .unwrap();
    assert_eq!(screen.code().await, Some(0));
    screen.is_restored().await;
    assert!(screen.text().starts_with("\u{1b}[?1049h\u{1b}[?25l"));
}

#[tokio::test]
async fn ctrl_c_restores_the_terminal() {
    let scene = Scene::new("CREATE TABLE users (id int PRIMARY KEY)").await;
    // Too small even for the headings.
    let mut screen = Screen::start(&scene, 7, 2);
    let frame = screen.frame(|_| true).await;
    assert!(
        frame.len() <= 2 && frame.iter().all(|line| line.chars().count() <= 7),
        "{frame:?}"
    );
    let pid = rustix::process::Pid::from_raw(screen.child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(screen.code().await, Some(0));
    screen.is_restored().await;
}

#[tokio::test]
async fn status_watch_without_a_terminal_writes_plain_lines() {
    let scene = many_tables().await;
    let mut running = super::support::Running::start(&scene, &["status", "--watch"]);
    running
        .line(|line| line.contains("a_table_with_a_long_name_59"))
        .await;
    assert!(
        running
            .seen
            .iter()
            .all(|line| !line.contains(['\u{1b}', '…'])),
        "{:?}",
        running.seen
    );
    running
        .line(|line| line.contains("a_table_with_a_long_name_59"))
        .await;
}
