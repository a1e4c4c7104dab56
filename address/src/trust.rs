//! Which servers are trusted.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio_postgres::config::SslMode;

use super::AddressError;

/// Whom a mode lets in.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Whoever answers.
    Anybody,
    /// Whoever shows a certificate that one of these has signed, for its host if need be.
    Signed { roots: Vec<CertificateDer<'static>>, checks_name: bool },
}

impl Trust {
    /// What `sslmode` and `sslrootcert` ask for.
    pub(crate) fn from_parameters(
        mode: Option<&str>,
        roots: Option<String>,
    ) -> Result<(SslMode, Self), AddressError> {
        let is_system = roots.as_deref() == Some(SYSTEM);
        let default = if is_system { "verify-full" } else { "prefer" };
        let (ssl_mode, is_strict, name) = match mode.unwrap_or(default) {
            "disable" => (SslMode::Disable, false, "disable"),
            "prefer" => (SslMode::Prefer, false, "prefer"),
            "require" => (SslMode::Require, false, "require"),
            "verify-ca" => (SslMode::Require, true, "verify-ca"),
            "verify-full" => (SslMode::Require, true, "verify-full"),
            other => return Err(AddressError::Mode(other.to_owned())),
        };
        let checks_name = name == "verify-full";
        let trust = match roots {
            None if is_strict => return Err(AddressError::NoRoots(name)),
            None => Self::Anybody,
            Some(_) if ssl_mode != SslMode::Require => return Err(AddressError::UnusedRoots(name)),
            Some(_) if is_system && !checks_name => return Err(AddressError::WeakSystem),
            Some(_) if is_system => {
                let roots = rustls_native_certs::load_native_certs().certs;
                Self::Signed { roots, checks_name }
            }
            Some(path) => Self::Signed { roots: read(path.into())?, checks_name },
        };
        Ok((ssl_mode, trust))
    }

    /// The settings of TLS that follow.
    pub(crate) fn into_client(self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut store = RootCertStore::empty();
        if let Self::Signed { roots, .. } = &self {
            store.add_parsable_certificates(roots.iter().cloned());
        }
        let verifier = Verifier { trust: self, store, provider: Arc::clone(&provider) };
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN.to_vec()];
        Ok(client)
    }
}

fn read(path: PathBuf) -> Result<Vec<CertificateDer<'static>>, AddressError> {
    let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    let reason = match read {
        Ok(roots) => {
            let roots: Vec<_> = roots;
            if !roots.is_empty() {
                return Ok(roots);
            }
            "there is no certificate in it (PEM)".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(AddressError::Roots { path, reason })
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    store: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Signed { roots, checks_name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A server's own certificate in the file is trusted as it is, as by libpq; to a strict
        // reader of RFC 5280 one that has signed itself is a CA, and no server.
        if !roots.contains(end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.store,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if *checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if matches!(self.trust, Trust::Anybody) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Where anybody is trusted, so is a certificate that cannot be read, such as one of X.509
        // version 1.
        if matches!(self.trust, Trust::Anybody) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const SYSTEM: &str = "system";
const ALPN: &[u8] = b"postgresql";
