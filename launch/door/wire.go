package door

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/pprun/pprun/comm/frame"
)

// Version of the login.
const Version = 2 // 2: what the client wants

// The login: frames of comm/frame inside TLS 1.3. All that either end knows of the other before it ends well are the keys
// of their certificates.
//
//	client                                server
//	certificate of its key, if it has one <->  certificate of its key
//	login    version, wants, proofs    ->
//	                                  <-   welcome   a proof, or none
//	                                  <-   refuse    why
//	frames of launch/agent            <->
//	or: a report, and the end          <-
//
// A proof is HMAC-SHA256 of the prover's role and of keying material that TLS exports from this very connection, under a
// secret that both hold: it can be neither replayed nor relayed. A client sends one for each secret it has; the server
// answers with one under the secret that it found among its own.
const (
	kindLogin   frame.Kind = 1 // ID: version. Dst: what it wants. Proofs, one after the other, at most maxSecrets
	kindWelcome frame.Kind = 2 // one proof; none if the client's key was enough
	kindRefuse  frame.Kind = 3 // text
)

// What a client may want.
const (
	wantAgent  = iota // an agent of its own
	wantReport        // to know what the server does
)

const (
	proofLen   = sha256.Size
	maxRefusal = 1 << 10
	maxReport  = 1 << 20
)

// longest is the longest payload of each kind.
var longest = map[frame.Kind]int{kindLogin: maxSecrets * proofLen, kindWelcome: proofLen, kindRefuse: maxRefusal}

// protocol is what both ends name in TLS, so that nothing else is taken for the other end.
const protocol = "ppserver"

// The roles in a proof.
const (
	roleClient = "client"
	roleServer = "server"
)

// prove makes a proof.
func prove(secret []byte, role string, exported []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(role))
	m.Write(exported)
	return m.Sum(nil)
}

// export is keying material that only the two ends of a TLS connection have.
func export(c *tls.Conn) ([]byte, error) {
	state := c.ConnectionState()
	return state.ExportKeyingMaterial("EXPORTER-ppserver-login", nil, sha256.Size)
}

// readFrame reads one frame and not a byte more: what follows is not of this protocol.
func readFrame(r io.Reader) (frame.Header, []byte, error) {
	head := make([]byte, frame.HeaderLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return frame.Header{}, nil, err
	}
	h := frame.Parse(head)
	limit, known := longest[h.Kind]
	if !known || int64(h.Len) > int64(limit) {
		return h, nil, fmt.Errorf("a frame of kind %d with %d bytes in the login", h.Kind, h.Len)
	}
	payload := make([]byte, h.Len)
	if _, err := io.ReadFull(r, payload); err != nil {
		return h, nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return h, payload, nil
}
