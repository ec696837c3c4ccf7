package discovery

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/cluster-bootstrap/token/util"

	"slipway.dev/slipway/internal/fault"
)

// Token is a bootstrap token: the ID names it in public, the secret half proves who has it. However it is printed,
// logged or encoded, the secret half is left out; Reveal gives the text for the join command.
type Token struct {
	ID string
	// A pointer, because fmt cannot call Format for a token in an unexported field of another struct: it prints the
	// fields then, and of this one an address.
	secret *string
}

// ParseToken reads a token from the form that is given to users. The error has nothing of the text, which may be the
// secret half with a slip of the pen.
func ParseToken(text string) (Token, error) {
	if !util.IsValidBootstrapToken(text) {
		return Token{}, fault.New("token-invalid", "read the token",
			errors.New("it is not six and sixteen lower-case letters or digits with a dot between them"),
			"copy the whole token, as in abcdef.0123456789abcdef; `slipway token create` on a control plane makes a new one")
	}
	id, secret, _ := strings.Cut(text, ".")
	return Token{ID: id, secret: &secret}, nil
}

// NewToken makes a random token. No cluster knows it yet.
func NewToken() (Token, error) {
	text, err := util.GenerateBootstrapToken()
	if err != nil {
		return Token{}, fmt.Errorf("make a token: %w", err)
	}
	return ParseToken(text)
}

// Secret gives the secret half.
func (t Token) Secret() string {
	if t.secret == nil {
		return ""
	}
	return *t.secret
}

// Reveal gives the token with its secret half, as a user passes it on.
func (t Token) Reveal() string { return util.TokenFromIDAndSecret(t.ID, t.Secret()) }

// String gives the token without its secret half.
func (t Token) String() string { return t.ID + ".<redacted>" }

// Format prints the same as String for every verb, %#v too.
func (t Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.String()) }

// MarshalText keeps the secret half out of JSON, YAML and structured logs. There is no way back, so that a token is
// not sent this way by mistake and received without its secret.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
