//! A handle on the connection of a request, with which a fault resets it.

use std::{
    any::Any,
    net::TcpStream,
    os::fd::{AsFd, OwnedFd},
};

use actix_web::{HttpRequest, dev::Extensions, rt::net};

/// A second handle on the connection.
struct Socket(OwnedFd);

/// Runs on each new connection.
pub(crate) fn keep(connection: &dyn Any, data: &mut Extensions) {
    let handle =
        connection.downcast_ref::<net::TcpStream>().and_then(|socket| socket.as_fd().try_clone_to_owned().ok());
    if let Some(handle) = handle {
        data.insert(Socket(handle));
    }
}

/// Makes the next close of the connection a reset.
pub(crate) fn reset_on_close(request: &HttpRequest) {
    let handle = request.conn_data::<Socket>().and_then(|Socket(handle)| handle.try_clone().ok());
    // Lingering is a property of the socket, which both handles share.
    if let Some(Ok(socket)) = handle.map(|handle| net::TcpStream::from_std(TcpStream::from(handle))) {
        let _ = socket.set_zero_linger();
    }
}
