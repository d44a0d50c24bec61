//! The peer of the hit benchmark: the same HTTP stack, reading a body and answering a constant.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;

/// About as long as the answer to a hit.
const ANSWER: &str = r#"{"name":"azureml/azureml_00000000000000000000000000000000","image":"localhost:5000/bench/azureml/azureml_00000000000000000000000000000000@sha256:0000000000000000000000000000000000000000000000000000000000000000","spec_hash":"0000000000000000000000000000000000000000000000000000000000000000","build_id":null,"state":"READY","generation":1,"cached":true,"joined":false,"backend":"docker"}"#;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let answer = |_body: Bytes| async { ([("content-type", "application/json")], ANSWER) };
    let app = Router::new().route("/v1/builds", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "the benchmark reads the address")]
    {
        println!("listens on http://{}", listener.local_addr()?);
    }
    axum::serve(listener, app).await
}
