//! The dashboard: one page, its style and scripts, and the plotting library, all inside the binary.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;

use super::failure::{self, Failure};

/// The dashboard.
pub(crate) async fn page() -> Html<&'static str> {
    Html(include_str!("../../assets/index.html"))
}

/// A file of the dashboard.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let asset = match name.as_str() {
        "plotly.min.js" => &*PLOTLY,
        name => match ASSETS.iter().find(|asset| asset.name == name) {
            Some(asset) => asset,
            None => return Err(failure::not_found().await),
        },
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    // Asked again each time, answered in a few bytes: a new version shows at once.
    let caching = [(ETAG, asset.tag.as_str()), (CACHE_CONTROL, "no-cache")];
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == asset.tag || tag.trim() == "*")) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok(([(CONTENT_TYPE, asset.kind)], caching, asset.body.clone()).into_response())
}

struct Asset {
    name: &'static str,
    kind: &'static str,
    tag: String,
    body: Bytes,
}

impl Asset {
    fn new(name: &'static str, body: Bytes) -> Asset {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let kind = match name.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some(_) | None => "text/javascript; charset=utf-8",
        };
        Asset { name, kind, tag: format!("\"{:016x}\"", hasher.finish()), body }
    }
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files: [(&'static str, &'static str); 11] = [
        ("style.css", include_str!("../../assets/style.css")),
        ("icon.svg", include_str!("../../assets/icon.svg")),
        ("app.js", include_str!("../../assets/app.js")),
        ("api.js", include_str!("../../assets/api.js")),
        ("chart.js", include_str!("../../assets/chart.js")),
        ("dom.js", include_str!("../../assets/dom.js")),
        ("format.js", include_str!("../../assets/format.js")),
        ("instances.js", include_str!("../../assets/instances.js")),
        ("nodes.js", include_str!("../../assets/nodes.js")),
        ("panels.js", include_str!("../../assets/panels.js")),
        ("tiles.js", include_str!("../../assets/tiles.js")),
    ];
    files.into_iter().map(|(name, body)| Asset::new(name, Bytes::from_static(body.as_bytes()))).collect()
});

static PLOTLY: LazyLock<Asset> = LazyLock::new(|| {
    let tags = plotly::Plot::offline_js_sources();
    Asset::new("plotly.min.js", Bytes::from(first_script(&tags).to_owned()))
});

/// What the first script element of a piece of HTML contains; empty if there is none.
fn first_script(html: &str) -> &str {
    let after_tag =
        html.find("<script").and_then(|tag| html[tag..].find('>').map(|end| &html[tag + end + 1..]));
    after_tag.and_then(|rest| rest.split_once("</script>")).map_or("", |(script, _)| script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plotting_library_is_served_without_its_tags() {
        let text = std::str::from_utf8(&PLOTLY.body).expect("text");
        assert!(text.len() > 1_000_000 && text.contains("plotly.js v"), "{} bytes", text.len());
        assert!(!text.contains("<script type") && !text.contains("</script>"));
    }

    #[test]
    fn every_file_of_the_dashboard_is_served() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).expect("the folder");
        let mut files: Vec<_> = folder
            .map(|file| file.expect("a file").file_name().into_string().expect("a plain name"))
            .collect();
        files.sort();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        served.push("index.html".to_owned());
        served.sort();
        assert_eq!(files, served);
    }

    #[test]
    fn the_first_script_is_found() {
        assert_eq!(first_script("<p><script type=\"x\">a > b</script><script>c</script>"), "a > b");
        assert_eq!(first_script("no script"), "");
    }
}
