//! Performance figures are in `benches/README.md`. `README.md` quotes some of them, and the guide has none.

use std::collections::BTreeSet;
use std::path::Path;

/// Units of performance figures. Milliseconds and seconds are not among them, because settings use them, too.
const UNITS: [&str; 8] = [
    "ns",
    "µs",
    "M/s",
    "tps",
    "events/s",
    "events a second",
    "transactions/s",
    "transactions a second",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).unwrap()
}

/// The paragraphs of a page, without code blocks.
fn paragraphs(page: &str) -> Vec<String> {
    let (mut paragraphs, mut is_code) = (vec![String::new()], false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if line.is_empty() {
            paragraphs.push(String::new());
        } else if !is_code {
            let paragraph = paragraphs.last_mut().unwrap();
            paragraph.push_str(line);
            paragraph.push(' ');
        }
    }
    paragraphs
}

/// The numbers in a text as written, each with the text after it.
fn numbers(text: &str) -> Vec<(&str, &str)> {
    let mut numbers = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let is_within = |c: char| c.is_ascii_digit() || ",.".contains(c);
        let end = rest[start..].find(|c| !is_within(c));
        let end = end.map_or(rest.len(), |end| start + end);
        let number = rest[start..end].trim_end_matches([',', '.']);
        numbers.push((number, &rest[end..]));
        rest = &rest[end..];
    }
    numbers
}

/// The unit after a number.
fn unit<'a>(behind: &str, units: &[&'a str]) -> Option<&'a str> {
    let behind = behind.trim_start();
    let is_it = |unit: &&str| {
        let after = behind.strip_prefix(unit);
        after.is_some_and(|after| !after.starts_with(char::is_alphanumeric))
    };
    units.iter().copied().find(is_it)
}

/// The performance figures in a text: the numbers with such a unit.
fn figures(text: &str) -> Vec<String> {
    let found = numbers(text).into_iter();
    let found = found.filter(|(_, behind)| unit(behind, &UNITS).is_some());
    found.map(|(number, _)| number.to_owned()).collect()
}

#[test]
fn performance_figures_in_the_readme_are_in_the_benchmarks() {
    let benches = read("benches/README.md");
    let units = [&UNITS[..], &["ms", "s"]].concat();
    // Accept each number with its unit or without.
    let with_unit = |(number, behind)| [(number, unit(behind, &units)), (number, None)];
    let measured: BTreeSet<_> = numbers(&benches).into_iter().flat_map(with_unit).collect();
    let mut quoted = 0;
    for paragraph in paragraphs(&read("README.md")) {
        let is_about_it = paragraph.contains("benches/README.md");
        let figures = figures(&paragraph);
        assert!(
            is_about_it || figures.is_empty(),
            "{figures:?} without a reference to the benchmarks: {paragraph}"
        );
        for (number, behind) in numbers(&paragraph).into_iter().filter(|_| is_about_it) {
            let figure = (number, unit(behind, &units));
            assert!(
                measured.contains(&figure),
                "{figure:?} was not measured: {paragraph}"
            );
            quoted += 1;
        }
    }
    assert!(quoted > 5, "{quoted}");
}

#[test]
fn the_guide_has_no_performance_figures() {
    let pages = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let mut count = 0;
    for page in pages {
        let path = page.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        let figures: Vec<String> = paragraphs(&page)
            .iter()
            .flat_map(|one| figures(one))
            .collect();
        assert!(figures.is_empty(), "{figures:?} in {}", path.display());
        count += 1;
    }
    assert!(count > 5, "{count}");
}

#[test]
fn figures_are_found_by_their_units() {
    let text = "A hit takes 13.0 ns, 1.5µs or 35; 5,940 events/s. Every 10 s, of 32 nodes, 181,000 events a second.";
    assert_eq!(figures(text), ["13.0", "1.5", "5,940", "181,000"]);
    let all: Vec<&str> = numbers("1,000 rows, 2.")
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(all, ["1,000", "2"]);
}
