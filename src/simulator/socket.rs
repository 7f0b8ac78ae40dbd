//! The connection under a request, kept so that a fault can reset it.

use std::{
    any::Any,
    net::TcpStream,
    os::fd::{AsFd, OwnedFd},
};

use actix_web::{HttpRequest, dev::Extensions, rt::net};

/// A second handle on the connection.
struct Socket(OwnedFd);

/// To be called on each new connection.
pub(super) fn keep(connection: &dyn Any, data: &mut Extensions) {
    let handle =
        connection.downcast_ref::<net::TcpStream>().and_then(|socket| socket.as_fd().try_clone_to_owned().ok());
    if let Some(handle) = handle {
        data.insert(Socket(handle));
    }
}

/// When the connection is closed next, its peer sees a reset instead of an end.
pub(super) fn reset_on_close(request: &HttpRequest) {
    let handle = request.conn_data::<Socket>().and_then(|Socket(handle)| handle.try_clone().ok());
    // Lingering belongs to the socket, not to the handle.
    if let Some(Ok(socket)) = handle.map(|handle| net::TcpStream::from_std(TcpStream::from(handle))) {
        let _ = socket.set_zero_linger();
    }
}
