package doctor

import (
	"regexp"
	"strings"
)

// secrets are what must not be quoted: bootstrap tokens, bearer tokens, and keys.
func secrets() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`\b([a-z0-9]{6})\.[a-z0-9]{16}\b`),
		regexp.MustCompile(`(?i)\b(bearer|authorization"?\s*[=:]\s*"?basic)\s+[^\s",]+`),
		regexp.MustCompile(`(?i)\b((?:token|password|client-key-data)"?\s*[=:])\s*"?[^\s",}]+`),
		regexp.MustCompile(`(?i)\b(certificate-key)"?[\s=:]+"?[^\s",}]+`),
		regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END|$)`),
		regexp.MustCompile(`\b(eyJ)[\w-]+\.[\w-]+\.[\w-]*`), // a JSON web token
	}
}

// lineSize is where lines of a log are cut: some have whole objects in them.
const lineSize = 300

// Redact takes out what looks like a secret, and keeps what tells which it was.
func Redact(text string) string {
	for _, s := range secrets() {
		text = s.ReplaceAllString(text, "$1 [secret]")
	}
	return text
}

// redact also cuts lines to what one can read.
func redact(text string) string {
	text = Redact(text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if r := []rune(line); len(r) > lineSize {
			lines[i] = string(r[:lineSize]) + " ..."
		}
	}
	return strings.Join(lines, "\n")
}
