//! Portcullis from outside: the real `app::build`, real sockets, real store files.

mod support;

mod smoke;
