//! Trace context that makes spans on two nodes one trace.

use serde::{Deserialize, Serialize};
use tracing::Span;

/// Names a span on another node, as in W3C Trace Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

#[cfg(test)]
impl TraceParent {
    pub(crate) const LARGEST: Self = Self {
        trace: [u8::MAX; 16],
        span: [u8::MAX; 8],
        flags: u8::MAX,
    };

    pub(crate) const fn sample() -> Self {
        Self {
            trace: [1; 16],
            span: [2; 8],
            flags: 3,
        }
    }
}

#[cfg(feature = "otel")]
impl TraceParent {
    /// A span of this node; `None` unless it is exported.
    pub(crate) fn of(span: &Span) -> Option<Self> {
        use opentelemetry::trace::TraceContextExt;
        use tracing_opentelemetry::OpenTelemetrySpanExt;

        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_valid().then(|| Self {
            trace: context.trace_id().to_bytes(),
            span: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        })
    }

    /// Makes a span of this node a child of a named one.
    pub(crate) fn set(parent: Self, span: &Span) {
        use opentelemetry::{
            Context,
            trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId},
        };
        use tracing_opentelemetry::OpenTelemetrySpanExt;

        let context = SpanContext::new(
            TraceId::from_bytes(parent.trace),
            SpanId::from_bytes(parent.span),
            TraceFlags::new(parent.flags),
            true,
            <_>::default(),
        );
        // Fails when this process exports no spans.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
}

#[cfg(not(feature = "otel"))]
impl TraceParent {
    /// A span of this node; `None`, as nothing is exported without the feature `otel`.
    pub(crate) const fn of(_: &Span) -> Option<Self> {
        None
    }

    /// Does nothing without the feature `otel`.
    pub(crate) const fn set(_: Self, _: &Span) {}
}
