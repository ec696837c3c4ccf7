package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Origin is where settings come from: the command line, and behind it a file. That of nil is the command line alone.
type Origin struct {
	path string
	root *yaml.Node
	// Given tells which flags, without hyphens in front, were on the command line.
	Given func(flag string) bool
}

// Flag names a setting as the user has written it: by its flag, as in --pod-cidr, or by the field and the line of the file.
func (o *Origin) Flag(flag, value string) string {
	name := strings.TrimPrefix(flag, "--")
	if o == nil || o.Given != nil && o.Given(name) {
		return flag + " " + value
	}
	for i := 0; i+1 < len(o.root.Content); i += 2 {
		if key := o.root.Content[i]; strings.EqualFold(key.Value, strings.ReplaceAll(name, "-", "")) {
			return fmt.Sprintf("%s %s of \"%s:%d\"", key.Value, value, o.path, key.Line)
		}
	}
	return flag + " " + value
}

// Field names a field that has no flag, with its line.
func (o *Origin) Field(path ...string) string {
	name := strings.Join(path, ".")
	if o == nil {
		return name
	}
	return fmt.Sprintf("%s of \"%s:%d\"", name, o.path, o.line(path))
}

// line is that of the innermost part of the path that is there as it is written. What an alias stands for is not looked into.
func (o *Origin) line(path []string) int {
	at, line := o.root, o.root.Line
	for _, name := range path {
		next := child(at, name)
		if next == nil {
			break
		}
		at, line = next.value, next.line
	}
	return line
}

type entry struct {
	value *yaml.Node
	line  int
}

func child(n *yaml.Node, name string) *entry {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return &entry{n.Content[i+1], n.Content[i].Line}
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return &entry{n.Content[i], n.Content[i].Line}
		}
	default: // there is nothing below
	}
	return nil
}
