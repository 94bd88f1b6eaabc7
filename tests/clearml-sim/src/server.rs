//! The server: sockets, and lines that can be cut.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

use crate::{http, state::State};

/// A running server. It stops when dropped.
#[derive(Debug)]
pub struct Server {
    url: String,
    address: SocketAddr,
    state: State,
    stop: oneshot::Sender<()>,
    task: JoinSet<io::Result<()>>,
}

impl Server {
    /// Listens at `address` (port 0: any free one) and serves `state` in the caller's runtime.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start(address: SocketAddr, state: State) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let service = Router::new()
            .fallback(http::handle)
            .with_state(state.clone())
            .into_make_service_with_connect_info::<Line>();
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            axum::serve(Lines(listener), service)
                .with_graceful_shutdown(async {
                    // An error means that the server was dropped, which stops it just as well.
                    stopped.await.ok();
                })
                .await
        });
        Ok(Self {
            url: format!("http://{address}"),
            address,
            state,
            stop,
            task,
        })
    }

    /// Base URL, e.g. `http://127.0.0.1:40321`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Stops listening, and waits for the answers under way.
    ///
    /// # Errors
    /// When the server had ended before, with an error.
    pub async fn shutdown(mut self) -> io::Result<()> {
        // An error means that it has ended already; the result below says how.
        self.stop.send(()).ok();
        match self.task.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Ok(()),
        }
    }
}

/// One connection, as a request sees it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    ip: IpAddr,
    cut: Arc<AtomicBool>,
}

impl Line {
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Whether the caller is on the same machine.
    pub(crate) fn is_local(&self) -> bool {
        self.ip.to_canonical().is_loopback()
    }

    /// Lets the connection end without another byte sent.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

/// A listener of [`LineStream`]s.
struct Lines(TcpListener);

impl Listener for Lines {
    type Io = LineStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LineStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Answers are small, and waiting for more to send only delays them.
        stream.set_nodelay(true).ok();
        let line = Line {
            ip: address.ip(),
            cut: Arc::default(),
        };
        (LineStream { stream, line }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(incoming: IncomingStream<'_, Lines>) -> Self {
        incoming.io().line.clone()
    }
}

/// A TCP connection that fails once its line is cut.
#[derive(Debug)]
struct LineStream {
    stream: TcpStream,
    line: Line,
}

impl LineStream {
    fn check(&self) -> io::Result<()> {
        if self.line.cut.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for LineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(self.check())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
