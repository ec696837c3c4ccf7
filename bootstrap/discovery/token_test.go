package discovery_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/bootstrap/discovery"
)

func TestParseToken(t *testing.T) {
	tok := token(t)
	if tok.ID != "abcdef" || tok.Secret() != secret || tok.Reveal() != "abcdef."+secret {
		t.Errorf("parsed %q, %q, %q", tok.ID, tok.Secret(), tok.Reveal())
	}
	for _, text := range []string{
		"", ".", secret, "abcdef", "abcdef." + secret + "\n", " abcdef." + secret, "abcde." + secret, "ABCDEF." + secret,
		"abcdef:" + secret, "abcdef." + secret + "0", "abcdef." + secret + ".x", secret + ".abcdef", "abcdef.s3cr3thalf0ftes\u00e9",
	} {
		_, err := discovery.ParseToken(text)
		wantFault(t, err, "token-invalid")
	}
}

func TestNewToken(t *testing.T) {
	a, err := discovery.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	b, err := discovery.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	if a.Reveal() == b.Reveal() {
		t.Error("two new tokens are the same")
	}
	if again, err := discovery.ParseToken(a.Reveal()); err != nil || again.Reveal() != a.Reveal() {
		t.Errorf("a new token is read as %v, %v", again, err)
	}
}

// TestTokenDoesNotLeak prints a token in all the ways that happen by accident.
func TestTokenDoesNotLeak(t *testing.T) {
	tok := token(t)
	hidden := struct{ token discovery.Token }{tok}
	open := struct{ Token discovery.Token }{tok}
	values := []any{tok, &tok, hidden, &hidden, open, &open, []discovery.Token{tok}, map[string]discovery.Token{"t": tok}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			noSecret(t, verb, fmt.Sprintf(verb, v))
		}
		noSecret(t, "Sprint", fmt.Sprint(v))
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		noSecret(t, "JSON", string(asJSON))
		asYAML, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		noSecret(t, "YAML", string(asYAML))
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		funcr.NewJSON(func(s string) { out.WriteString(s) }, funcr.Options{}).Info("x", "v", v)
		noSecret(t, "log", out.String())
	}
	noSecret(t, "options", fmt.Sprintf("%+v %#v", discovery.Options{Token: tok}, discovery.Options{Token: tok}))
	if got := fmt.Sprint(tok); !strings.Contains(got, "abcdef") {
		t.Errorf("a token is printed as %q, without its ID", got)
	}
}

func noSecret(t *testing.T, how, text string) {
	t.Helper()
	decimal := fmt.Sprintf("%d", []byte(secret))
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(decimal, "[]")} {
		if strings.Contains(text, form) {
			t.Errorf("%s has the secret half: %s", how, text)
		}
	}
}

// TestTokenIsNotReadBack holds that a token sent as JSON does not arrive as one without its secret.
func TestTokenIsNotReadBack(t *testing.T) {
	data, err := json.Marshal(token(t))
	if err != nil {
		t.Fatal(err)
	}
	var back discovery.Token
	if err := json.Unmarshal(data, &back); err == nil {
		t.Errorf("%s was read back as %q", data, back.Reveal())
	}
}
