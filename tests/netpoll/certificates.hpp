// SPDX-License-Identifier: Apache-2.0
//
// Keys and certificates made in the test: an authority, and what it or nobody vouches for.
#pragma once

#include <boost/asio/ssl/context.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <stdexcept>
#include <string>

namespace weft_test {

inline void tls_require(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string("OpenSSL would not ") + what);
}

/// A key with its certificate.
class identity {
 public:
  /// For the host `name` (a DNS name), vouched for by `issuer` or, without one, by itself; valid from an hour ago until
  /// `seconds_left` from now.
  explicit identity(const std::string& name, const identity* issuer = nullptr, long seconds_left = 3600)
      : identity(name, issuer, seconds_left, "subjectAltName", "DNS:" + name) {}

  static identity authority(const std::string& name = "an authority of this test") {
    return identity(name, nullptr, 3600, "basicConstraints", "critical,CA:TRUE");
  }

  X509* certificate() const { return certificate_.get(); }
  EVP_PKEY* key() const { return key_.get(); }

  void use_in(boost::asio::ssl::context& context) const {
    tls_require(SSL_CTX_use_certificate(context.native_handle(), certificate()) == 1, "use the certificate");
    tls_require(SSL_CTX_use_PrivateKey(context.native_handle(), key()) == 1, "use the key");
  }
  void trust_in(boost::asio::ssl::context& context) const {
    tls_require(X509_STORE_add_cert(SSL_CTX_get_cert_store(context.native_handle()), certificate()) == 1,
                "trust the certificate");
  }

 private:
  identity(const std::string& name, const identity* issuer, long seconds_left, const char* extension,
           const std::string& value)
      : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    static long serial = 0;
    X509* const c = certificate();
    X509* const from = issuer != nullptr ? issuer->certificate() : c;
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c), -7200);
    X509_gmtime_adj(X509_getm_notAfter(c), seconds_left);
    X509_set_pubkey(c, key());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(c, X509_get_subject_name(from));
    X509_EXTENSION* const made = X509V3_EXT_conf(nullptr, nullptr, extension, value.c_str());
    tls_require(made != nullptr && X509_add_ext(c, made, -1) == 1, "add an extension");
    X509_EXTENSION_free(made);
    tls_require(X509_sign(c, issuer != nullptr ? issuer->key() : key(), EVP_sha256()) != 0, "sign");
  }

  struct freer {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  std::unique_ptr<EVP_PKEY, freer> key_;
  std::unique_ptr<X509, freer> certificate_;
};

}  // namespace weft_test
