//! Sends traces to an OpenTelemetry collector (feature `otel`).
//!
//! A call is one trace, whatever nodes it passes: the caller's span `call`, and below it a span
//! `serve` on the node whose handler ran. The handler's own spans and events stand below that one,
//! and its own calls to other nodes below those. Commands and queries of groups are spans `execute`,
//! `feed` and `query` on the node that asked.
//!
//! Spans go out as OTLP over HTTP, in batches, from a thread of their own. A collector that can't be
//! reached costs spans, never calls: what is not delivered is dropped.
//!
//! # Examples
//!
//! ```
//! use mosaik::otel::Exporter;
//! use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
//!
//! # fn main() -> Result<(), mosaik::otel::Error> {
//! let exporter = Exporter::new("prices", "http://127.0.0.1:4318")?;
//! tracing_subscriber::registry()
//!     .with(exporter.layer())
//!     .with(tracing_subscriber::fmt::layer())
//!     .init();
//! // … the program; the exporter lives as long as it does.
//! # Ok(())
//! # }
//! ```

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// The name under which this library's spans are grouped.
const SCOPE: &str = "mosaik";

/// Errors of exporting traces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The exporter could not be made, most likely because the address is no URL.
    #[error("traces can't be exported to {endpoint}: {reason}")]
    Endpoint {
        /// The address as it was given.
        endpoint: String,
        /// Fault of the endpoint.
        reason: String,
    },
    /// Spans could not be delivered.
    #[error("spans could not be delivered to the collector: {reason}")]
    Delivery {
        /// Cause of the failure.
        reason: String,
    },
}

/// Sends the spans of this process to a collector.
///
/// Dropping it sends what is left, and waits for that for at most 5 s; spans that end afterwards
/// are not exported.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// An exporter for a service, as the collector's users are to see it, to a collector's OTLP/HTTP
    /// address such as `http://127.0.0.1:4318`.
    ///
    /// Batches, sampling and limits follow the `OTEL_…` environment variables where they are set. A
    /// process without a default provider of `rustls` gets the one of *ring*, which is what the
    /// client of collectors at `https://` needs.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] when the address is no URL. That nobody listens there is no error.
    pub fn new(service: impl Into<String>, endpoint: &str) -> Result<Self, Error> {
        // The client refuses to be made without one. It's an error when another was there first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let built = SpanExporter::builder()
            .with_http()
            .with_endpoint(url)
            .build();
        let exporter = built.map_err(|error| Error::Endpoint {
            endpoint: endpoint.to_owned(),
            reason: error.to_string(),
        })?;
        let resource = Resource::builder()
            .with_service_name(service.into())
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self { provider })
    }

    /// The layer to be added to the program's `tracing` subscriber.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SCOPE))
    }

    /// Sends all spans that have ended, and waits for the collector to take them. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`Error::Delivery`] when the collector did not take them.
    pub fn flush(&self) -> Result<(), Error> {
        let flushed = self.provider.force_flush();
        flushed.map_err(|error| Error::Delivery {
            reason: error.to_string(),
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // What could not be delivered is lost, as documented.
        let _ = self.provider.shutdown();
    }
}
