//! The OpenAPI document of the native API.

use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "kiln",
        description = "Container images of Python environments, built once."
    ),
    paths(
        crate::builds::create,
        crate::builds::show,
        crate::builds::cancel,
        crate::builds::list,
        crate::builds::defaults,
        crate::logs::logs,
        crate::explain::explain,
        crate::gc::collect,
        crate::contexts::upload,
        crate::contexts::show,
        crate::wheels::upload,
        crate::wheels::list,
        crate::wheels::show,
        crate::models::register,
        crate::models::list,
        crate::models::show_version,
        crate::models::content,
        crate::models::delete,
        crate::environments::list,
        crate::environments::show,
        crate::environments::register,
        crate::environments::versions,
        crate::environments::history,
        crate::environments::sharing,
        crate::environments::diff,
        crate::environments::label,
        crate::environments::unlabel,
        crate::environments::archive,
        crate::environments::restore,
        crate::environments::rollback,
        crate::environments::clone,
        crate::environments::add_packages,
        crate::runs::list,
        crate::runs::show,
        crate::runs::begin,
        crate::runs::change,
        crate::runs::add_files,
        crate::runs::files,
        crate::runs::content,
        crate::environments::reproduce,
        crate::hooks::list,
        crate::hooks::add,
        crate::hooks::remove,
        crate::hooks::test,
        crate::hooks::enable,
        crate::hooks::replay,
        crate::hooks::add_secret,
        crate::hooks::remove_secret,
    ),
    components(schemas(kiln_api::LogEvent))
)]
struct Document;

/// The document as indented JSON; `docs/openapi.json` is its copy.
pub fn document() -> String {
    let mut text = Document::openapi()
        .to_pretty_json()
        .expect("the document is plain data");
    text.push('\n');
    text
}

pub(crate) async fn show() -> ([(axum::http::HeaderName, &'static str); 1], String) {
    (
        [(axum::http::header::CONTENT_TYPE, "application/json")],
        document(),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_in_the_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(path, super::document()).unwrap();
        }
        let copy = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            copy,
            super::document(),
            "run the test with KILN_BLESS=1 to write the new copy"
        );
    }
}
