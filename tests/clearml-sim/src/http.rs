//! HTTP around the calls: any method, faults on purpose, compression, the log.

use std::{io::Write as _, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, Query, Request as HttpRequest, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;

use crate::{
    call::{self, Incoming, Outgoing},
    control,
    faults::{self, Fault, Request},
    path,
    server::Line,
    state::State,
};

/// Longest request body, in bytes.
const LONGEST_BODY: usize = 16 << 20;
/// Shorter answers are not compressed, in bytes.
const COMPRESSED_FROM: usize = 500;

/// Answers any request.
pub(crate) async fn handle(
    Shared(state): Shared<State>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: HttpRequest,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LONGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path();
    if let Some((status, answer)) =
        control::answer(&state, &parts.method, path, &body, line.is_local())
    {
        return json(status, answer.to_string());
    }
    let endpoint = path::parse(path).map_or(path, |(_, name)| name);
    let delay = state.faults().delay;
    tokio::time::sleep(delay).await;
    let fault = state.faults().take(endpoint);
    if let Some(Fault::Slow { millis }) = fault {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let response = match fault {
        Some(Fault::Status { code, retry_after }) => error_page(code, retry_after),
        Some(Fault::WebPage) => html("<!doctype html><html><body>ClearML</body></html>"),
        Some(Fault::Drop) => StatusCode::OK.into_response(),
        _ => answer(&state, &parts, &body, &line, fault),
    };
    let cut = matches!(fault, Some(Fault::Drop | Fault::DropAfterwards));
    if cut {
        line.cut();
    }
    state.faults().log(Request {
        endpoint: endpoint.to_owned(),
        status: if cut { 0 } else { response.status().as_u16() },
    });
    response
}

fn answer(
    state: &State,
    parts: &Parts,
    body: &Bytes,
    line: &Line,
    fault: Option<Fault>,
) -> Response {
    if parts.method == Method::OPTIONS {
        let mut response = html("");
        if let Some(origin) = parts.headers.get(header::ORIGIN) {
            let name = header::ACCESS_CONTROL_ALLOW_ORIGIN;
            response.headers_mut().insert(name, origin.clone());
        }
        return response;
    }
    if let Some(encoding) = parts.headers.get(header::CONTENT_ENCODING) {
        let encoding = encoding.to_str().unwrap_or_default();
        let text = format!("Content encoding is not supported ({encoding})");
        let mut response = html(&text);
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let query = Query::try_from_uri(&parts.uri).map_or_else(|_| Vec::new(), |query| query.0);
    let incoming = Incoming {
        path: parts.uri.path(),
        query: &query,
        headers: &parts.headers,
        body,
        ip: &line.ip().to_string(),
        refuse: match fault {
            Some(Fault::Refuse { code, subcode }) => Some((code, subcode)),
            _ => None,
        },
    };
    let (mut store, now) = (state.store(), Timestamp::now());
    if let Some(fault) = fault {
        faults::strike(&mut store, fault, &parts.headers, now);
    }
    let outgoing = call::answer(&mut store, &incoming, now);
    drop(store);
    envelope(&outgoing, &parts.headers)
}

fn json(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}

fn envelope(outgoing: &Outgoing, headers: &HeaderMap) -> Response {
    let text = outgoing.envelope.to_string();
    let mut response = json(outgoing.status, Body::empty());
    set(&mut response, header::VARY, "Accept-Encoding");
    let cookie = outgoing.cookie.as_deref().map(HeaderValue::try_from);
    if let Some(Ok(cookie)) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    let wanted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let wanted = wanted && text.len() > COMPRESSED_FROM;
    *response.body_mut() = match wanted.then(|| compress(&text)).flatten() {
        Some(bytes) => {
            set(&mut response, header::CONTENT_ENCODING, "gzip");
            Body::from(bytes)
        }
        None => Body::from(text),
    };
    response
}

fn compress(text: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

fn html(text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    set(
        &mut response,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    response
}

fn error_page(code: u16, retry_after: Option<u32>) -> Response {
    let mut response = html("<html><body><h1>Something is wrong</h1></body></html>");
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
