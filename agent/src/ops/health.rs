// SPDX-License-Identifier: Apache-2.0
//! `/healthz`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// What is told.
#[derive(Debug, Clone)]
pub struct Health {
    /// What `/metrics` tells.
    pub metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Not ready yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let ready = Arc::new(AtomicBool::new(false));
        Self { metrics, ready }
    }

    /// From now on `/readyz` says so.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        let (code, text) = match request.uri().path() {
            _ if !get => (405, "only GET\n".to_owned()),
            "/healthz" => (200, "ok\n".to_owned()),
            "/readyz" if self.ready.load(Ordering::Relaxed) => (200, "ok\n".to_owned()),
            "/readyz" => (503, "not ready\n".to_owned()),
            "/metrics" => (200, self.metrics.text()),
            _ => (404, "no such page\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        if let Ok(status) = hyper::StatusCode::from_u16(code) {
            *response.status_mut() = status;
        }
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        if request.uri().path() == "/metrics" {
            let kind = hyper::header::HeaderValue::from_static(kind);
            response
                .headers_mut()
                .insert(hyper::header::CONTENT_TYPE, kind);
        }
        response
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(health: Health, address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let health = health.clone();
                    tokio::spawn(async move {
                        let service = service_fn(move |request| {
                            let answer = health.answer(&request);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                        let _ = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(Duration::from_secs(10))
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
                // Out of descriptors: others must be closed first.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    Ok(())
}
