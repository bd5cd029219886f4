//! The files of the page. They are part of the program, and load nothing from elsewhere.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder, web};

use crate::refusal::Refusal;

/// Permits what the page needs, and nothing else: its own scripts, styles and requests. A text that would become part of the page as
/// HTML is refused by the browser (Trusted Types), so a mistake in the page's code cannot run what a table contains.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file with its path below `/page/`.
struct Asset {
    path: &'static str,
    content: &'static str,
}

/// Embeds files of the directory `page` of this package.
macro_rules! assets {
    ($($path:literal),+ $(,)?) => {
        &[$(Asset { path: $path, content: include_str!(concat!("../../page/", $path)) }),+]
    };
}

/// `client` is a link to the JavaScript client, `clients/js/src` of the repository.
const ASSETS: &[Asset] = assets![
    "icon.svg",
    "style.css",
    "js/api.js",
    "js/caches.js",
    "js/chart.js",
    "js/clients.js",
    "js/dialog.js",
    "js/dom.js",
    "js/events.js",
    "js/findings.js",
    "js/format.js",
    "js/groups.js",
    "js/health.js",
    "js/keys.js",
    "js/letters.js",
    "js/main.js",
    "js/tables.js",
    "client/backoff.js",
    "client/buffer.js",
    "client/continuity.js",
    "client/error.js",
    "client/index.js",
    "client/json.js",
    "client/message.js",
    "client/options.js",
    "client/request.js",
    "client/sse.js",
    "client/stream.js",
    "client/time.js",
    "client/transport.js",
];

pub(super) async fn index() -> HttpResponse {
    respond("index.html", include_str!("../../page/index.html"))
}

pub(super) async fn file(path: web::Path<String>) -> Result<HttpResponse, Refusal> {
    let asset = ASSETS.iter().find(|asset| asset.path == *path);
    let asset = asset.ok_or_else(Refusal::no_file)?;
    Ok(respond(asset.path, asset.content))
}

fn respond(path: &str, content: &'static str) -> HttpResponse {
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        // The files belong to the program's version, so they are asked for again after an update.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(content)
}

/// Keeps an answer out of caches.
pub(super) fn no_store(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::ASSETS;

    #[test]
    fn each_module_of_the_page_and_of_the_client_is_embedded() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut expected = BTreeSet::new();
        for directory in ["js", "client"] {
            for entry in std::fs::read_dir(page.join(directory)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(".js") {
                    expected.insert(format!("{directory}/{name}"));
                }
            }
        }
        let embedded = ASSETS.iter().map(|asset| asset.path.to_owned());
        let embedded = embedded.filter(|path| path.ends_with(".js"));
        assert_eq!(embedded.collect::<BTreeSet<_>>(), expected);
    }
}
