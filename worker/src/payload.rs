//! Payloads that are kept beside the log: fetched, checked, and only then is the handler started. A job whose payload cannot be
//! had is not run.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::value::RawValue;
use tidegate_blobs::{NotFetched, Store, fetch};
use tidegate_protocol::payload::PayloadRef;

use crate::handler::AnyHandler;
use crate::{Context, Ending};

/// Fetches a job's payload before its handler runs.
pub(crate) struct Fetching {
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) reference: PayloadRef,
}

/// Tells a handler that its job came and went without it, however that came about.
struct NotYet<'a>(Option<&'a dyn AnyHandler>);

impl NotYet<'_> {
    fn starts(mut self) {
        self.0 = None;
    }
}

impl Drop for NotYet<'_> {
    fn drop(&mut self) {
        if let Some(handler) = self.0 {
            handler.not_started();
        }
    }
}

impl AnyHandler for Fetching {
    fn start(self: Arc<Self>, context: Context) -> BoxFuture<'static, Ending> {
        Box::pin(async move {
            let not_yet = NotYet(Some(&*self.handler));
            let fetched = tokio::select! {
                biased;
                fetched = fetch(&*self.store, &context.job().tenant, &self.reference) => fetched,
                why = context.cancelled() => {
                    return Ending::cancelled(format!("stopped because {}, before its payload was there", why.sentence()));
                }
            };
            let payload = match fetched {
                Ok(payload) => payload,
                Err(error @ NotFetched::Store(_)) => return Ending::retryable(format!("not run: {error}")),
                Err(error) => return Ending::failed(format!("not run: {error}")),
            };
            let json = String::from_utf8(payload.into()).map_err(|error| error.to_string());
            let json = json.and_then(|text| RawValue::from_string(text).map_err(|error| error.to_string()));
            match json {
                Ok(json) => {
                    not_yet.starts();
                    Arc::clone(&self.handler).start(context.with_payload(json, self.reference.base64)).await
                }
                Err(error) => Ending::failed(format!("not run: its payload is no JSON: {error}")),
            }
        })
    }

    fn not_started(&self) {
        self.handler.not_started();
    }
}
