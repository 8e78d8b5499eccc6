// Package door is the way in to a ppserver: TLS 1.3, a key of Ed25519 on the server that clients know beforehand, and on
// their side a key that the server has been told of, or a secret that both hold. Nobody gets in otherwise, and nothing of
// a connection is decoded before.
//
// All keys are files of one directory, the keyring. A [Server] lets clients in, [Dial] is a client.
package door
