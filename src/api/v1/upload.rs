//! Bodies that are too large for memory: they are written to a file while they arrive.

use std::{fs::File, future::Future, io::Write, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header::CONTENT_TYPE, web::Data};
use futures_util::StreamExt;

use crate::{
    api::{
        edge::{access_policy::AccessPolicy, auth, body, error::ApiError, state::AppState},
        v1::posted::outage_wait,
    },
    domain::Client,
    ledger::MAX_RECORD_AGE,
    memory::Reservation,
};

/// Bytes that are collected before they are written.
const PIECE_BYTES: usize = 256 << 10;

/// The authenticated caller and its form. The errors of the body are for authenticated callers only.
pub(crate) struct Uploaded {
    pub client: Client,
    pub body: Result<Spooled, ApiError>,
}

/// A body in a file without a name, which goes with its last reader.
pub(crate) struct Spooled {
    pub file: File,
    pub bytes: u64,
    pub content_type: String,
}

impl FromRequest for Uploaded {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let state = request.app_data::<Data<AppState>>().cloned();
        let request = request.clone();
        Box::pin(async move {
            let state = state.ok_or(ApiError::Internal)?;
            let wait = outage_wait(&state, request.headers());
            let client = auth::client(request.clone(), MAX_RECORD_AGE, wait).await?;
            let policy = state.policy.load_full();
            let body = match content_type(&request, &policy) {
                Ok(content_type) => {
                    let mut room = state.recordings.reserve(client.id.clone());
                    let body = spool(payload, policy.upload_bytes, content_type, &mut room).await;
                    // The file lives as long as the request.
                    request.extensions_mut().insert(room);
                    body
                }
                Err(error) => Err(error),
            };
            Ok(Self { client, body })
        })
    }
}

/// Checks what can be checked before the body is read. A form is what a page of another origin can send without asking, so
/// where a browser says that it is one which is not allowed, the request is refused.
fn content_type(request: &HttpRequest, policy: &AccessPolicy) -> Result<String, ApiError> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_foreign = matches!(text("sec-fetch-site"), "cross-site" | "same-site");
    if is_foreign && policy.origins.allowed_origin(request.headers()).is_none() {
        return Err(ApiError::CrossSite);
    }
    let found = text(CONTENT_TYPE.as_str());
    if !found.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        let message = format!("The content type is `{found}`; send `multipart/form-data`.");
        return Err(ApiError::InvalidValue { param: Some("content-type".to_owned()), message });
    }
    if body::is_compressed(request)? {
        return Err(ApiError::UnsupportedEncoding("a compressed form".to_owned()));
    }
    body::check_length(request, policy.upload_bytes)?;
    Ok(found.to_owned())
}

/// Writes the body to a file: never more than a piece of it is in memory.
async fn spool(
    mut payload: Payload,
    max: usize,
    content_type: String,
    room: &mut Reservation,
) -> Result<Spooled, ApiError> {
    let file = on_disk(tempfile::tempfile).await?;
    let file = Arc::new(file);
    let (mut piece, mut bytes) = (Vec::new(), 0_usize);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format!("The body ended early: {error}.");
            ApiError::InvalidValue { param: Some("file".to_owned()), message }
        })?;
        bytes += chunk.len();
        if bytes > max {
            return Err(ApiError::TooLarge { max });
        }
        room.grow(chunk.len()).map_err(|_| no_room())?;
        piece.extend_from_slice(&chunk);
        if piece.len() >= PIECE_BYTES {
            write(&file, std::mem::take(&mut piece)).await?;
        }
    }
    write(&file, piece).await?;
    let file = Arc::into_inner(file).ok_or(ApiError::Internal)?;
    Ok(Spooled { file, bytes: bytes as u64, content_type })
}

async fn write(file: &Arc<File>, piece: Vec<u8>) -> Result<(), ApiError> {
    let file = file.clone();
    on_disk(move || (&*file).write_all(&piece)).await
}

/// Work on the disk, off the server's threads. A disk that is full or missing is the operator's to see.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Internal)?;
    done.map_err(|error| {
        tracing::error!(error = %error, "A recording cannot be kept in {}: {error}", std::env::temp_dir().display());
        no_room()
    })
}

fn no_room() -> ApiError {
    ApiError::Overloaded { message: "There is no room for the recording now. Try again.".to_owned() }
}
