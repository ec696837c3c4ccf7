package node

import (
	"strings"

	"slipway.dev/slipway/internal/kmod"
)

// notedModules is the note about the kernel modules that were loaded before.
const notedModules = "modules"

func (n *builder) noteModules(step string) error {
	loaded, err := kmod.Loaded()
	if err != nil {
		return err
	}
	return n.host.Note(step, notedModules, strings.Join(loaded, " "))
}

// unloadModules unloads what the kernel loaded for the node's sake.
func (n *builder) unloadModules() error {
	before, ok := n.host.Noted(notedModules)
	if !ok {
		return nil
	}
	return kmod.UnloadSince(strings.Fields(before))
}
