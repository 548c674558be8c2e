//! Serves metrics in the Prometheus text format.
//!
//! A process has one recorder of metrics. It is installed by the first node that serves metrics,
//! and shared by those that follow; what a node owns is the socket that it serves at.

use std::{convert::Infallible, fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{interval, sleep, timeout},
};

use super::Error;
use crate::primitives::{NetworkId, Scope, ShortFmtExt};

/// The recorder that this library installed.
static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

const CONTENT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Requests that are served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16;
/// Timeout for a client to send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit on the lifetime of one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(5);
/// Interval at which histograms are drained into their distributions.
const UPKEEP: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket at which metrics are about to be served.
pub(super) struct Exporter {
    listener: TcpListener,
    recorder: PrometheusHandle,
    network: Arc<str>,
}

impl Exporter {
    /// Makes sure that this library's recorder is the one of the process, then binds the socket.
    pub(super) async fn bind(addr: SocketAddr, network: &NetworkId) -> Result<Self, Error> {
        let recorder = recorder()?;
        let listener = TcpListener::bind(addr)
            .await
            .map_err(|error| Error::Prometheus(format!("can't serve at {addr}: {error}")))?;
        let network = network.short().to_string().into();
        Ok(Self {
            listener,
            recorder,
            network,
        })
    }

    /// Serves until the scope is cancelled.
    pub(super) fn start(self, scope: &Scope) {
        let (recorder, serving) = (self.recorder.clone(), scope.clone());
        scope.spawn(async move { self.serve(&serving).await });
        scope.spawn(async move {
            let mut ticks = interval(UPKEEP);
            loop {
                ticks.tick().await;
                recorder.run_upkeep();
            }
        });
    }

    async fn serve(self, scope: &Scope) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Fails only if the semaphore were closed.
        while let Ok(permit) = connections.clone().acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (recorder, network) = (self.recorder.clone(), self.network.clone());
                    scope.spawn(async move {
                        let connection = answer(stream, recorder, network);
                        // A client that stays on is cut off; it will connect again.
                        let _ = timeout(CONNECTION_TIMEOUT, connection).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a request for metrics");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The process's recorder, installed on the first call.
fn recorder() -> Result<PrometheusHandle, Error> {
    let mut installed = RECORDER.lock();
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| {
        Error::Prometheus("the process has another metrics recorder already".to_owned())
    })?;
    Ok(installed.insert(handle).clone())
}

async fn answer(stream: TcpStream, recorder: PrometheusHandle, network: Arc<str>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), || {
            with_network(&recorder.render(), &network)
        });
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a request for metrics failed");
    }
}

fn respond(method: &Method, render: impl FnOnce() -> String) -> Response<Full<Bytes>> {
    if *method != Method::GET && *method != Method::HEAD {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(Full::from(render()));
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    response
}

/// Adds the label `network` to all samples that don't have one.
///
/// Not a global label of the recorder, because that is shared by the nodes of other networks.
fn with_network(rendered: &str, network: &str) -> String {
    let mut labelled = String::with_capacity(rendered.len() * 5 / 4);
    for line in rendered.lines() {
        let name_end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_end);
        // Quotes inside of label values are escaped, so this finds labels only.
        let has_label = rest.starts_with("{network=\"") || rest.contains(",network=\"");
        // Writing to a string does not fail.
        let _ = match rest.strip_prefix('{') {
            _ if line.is_empty() || line.starts_with('#') || has_label => {
                writeln!(labelled, "{line}")
            }
            Some(labels) => writeln!(labelled, "{name}{{network=\"{network}\",{labels}"),
            None => writeln!(labelled, "{name}{{network=\"{network}\"}}{rest}"),
        };
    }
    labelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_without_network_are_labelled() {
        let rendered = "# TYPE a counter\na 1\na{b=\"c,network=\\\"x\"} 2\n\
                        a{b=\"c\",network=\"own\"} 3\na{network=\"own\"} 4\n\n";
        let expected = "# TYPE a counter\na{network=\"n\"} 1\n\
                        a{network=\"n\",b=\"c,network=\\\"x\"} 2\n\
                        a{b=\"c\",network=\"own\"} 3\na{network=\"own\"} 4\n\n";
        assert_eq!(with_network(rendered, "n"), expected);
    }

    #[test]
    fn only_reading_is_allowed() {
        let status = |method| respond(&method, || "a 1".to_owned()).status();
        assert_eq!(status(Method::GET), StatusCode::OK);
        assert_eq!(status(Method::POST), StatusCode::METHOD_NOT_ALLOWED);
    }
}
