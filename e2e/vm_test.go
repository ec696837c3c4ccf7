package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/testenv"
)

const (
	vmAddress = "02:00:00:00:76:6d" // of its network card
	vmDisk    = "8G"
	// vmSilence is how long it may show nothing new on its console while it starts. All of it takes a minute at most.
	vmSilence = time.Minute
	// vmCommandLimit is for what takes a minute or two on an emulated processor.
	vmCommandLimit = 10 * time.Minute
)

// virtualMachine is a server with what the machines of the local provider share with this computer: a kernel with its
// modules, control groups (of version 2) and a clock. It is Debian's kernel and udev, and the bundle's root file system.
type virtualMachine struct {
	name    string
	address netip.Prefix
	dir     string // has everything that is made for it
	signer  ssh.Signer
	hostKey ssh.PublicKey
	client  *ssh.Client
	stop    func() // ends the emulator, and returns when it has ended
}

// needVM is need for tests with a virtual machine.
func needVM(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the virtual machine is made for amd64")
	}
	for _, tool := range []string{"qemu-system-x86_64", "mkfs.ext4", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Lacks(t, "needs %s: make deps", tool)
		}
	}
	if len(vmPackages(t)) == 0 {
		testenv.Lacks(t, "needs a kernel: make vm")
	}
}

func vmPackages(t *testing.T) []string {
	t.Helper()
	cache := os.Getenv(cacheVar)
	if cache == "" {
		cache = "/var/cache/slipway"
	}
	found, err := filepath.Glob(filepath.Join(cache, "vm", "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// addVM makes a virtual machine beside the machines of a group, as its server i. It does not run yet.
func (g *group) addVM(t *testing.T, i int) *virtualMachine {
	t.Helper()
	home := filepath.Dir(os.Getenv(stateVar)) // which is removed whatever happens
	dir, err := os.MkdirTemp(home, "vm-")
	if err != nil {
		t.Fatal(err)
	}
	v := &virtualMachine{name: g.machine(i), address: g.freeAddress(t), dir: dir, stop: func() {}}
	t.Cleanup(func() { v.remove(t) })
	v.makeDisk(t, fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", v.address.Addr(), v.name), g.share)
	v.makePlug(t, bridgeOf(t, g.name))
	g.virtual = map[int]*virtualMachine{i: v}
	return v
}

// remove leaves nothing of it; the link to the bridge goes with the emulator.
func (v *virtualMachine) remove(t *testing.T) {
	t.Helper()
	v.stop()
	if err := os.RemoveAll(v.dir); err != nil {
		t.Error(err)
	}
}

func bridgeOf(t *testing.T, group string) string {
	t.Helper()
	for _, line := range lines(t, "ip", "-o", "-br", "link", "show", "type", "bridge") {
		if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "sl-"+group+"-") {
			return name
		}
	}
	t.Fatalf("group %q has no bridge", group)
	return ""
}

// makeDisk has what an administrator would have put on the server: the bundle, slipway, and what the group shares.
func (v *virtualMachine) makeDisk(t *testing.T, hosts, share string) {
	t.Helper()
	root := filepath.Join(v.dir, "rootfs")
	bundle := testenv.NeedBundle(t)
	if err := bundle.Extract("machine-rootfs", root); err != nil {
		t.Fatal(err)
	}
	for _, p := range vmPackages(t) {
		mustRun(t, "sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"`, "sh", p, root)
	}
	v.takeKernel(t, root)
	v.writeFiles(t, root, hosts)
	mustRun(t, "mkdir", "-p", root+"/media/share")
	mustRun(t, "cp", "-a", string(bundle), root+"/media/bundle")
	mustRun(t, "cp", "-a", share+"/.", root+"/media/share")
	mustRun(t, "install", "-m", "755", binary(), root+"/usr/local/bin/slipway")
	mustRun(t, "mkfs.ext4", "-q", "-d", root, v.disk(), vmDisk)
	mustRun(t, "rm", "-r", root)
}

func (v *virtualMachine) disk() string    { return filepath.Join(v.dir, "disk") }
func (v *virtualMachine) kernel() string  { return filepath.Join(v.dir, "vmlinuz") }
func (v *virtualMachine) plug() string    { return filepath.Join(v.dir, "plug") }
func (v *virtualMachine) console() string { return filepath.Join(v.dir, "console") }

// takeKernel gives the emulator the kernel. Drivers for NVMe and ext4 are built into Debian's, so it needs no initramfs.
func (v *virtualMachine) takeKernel(t *testing.T, root string) {
	t.Helper()
	found, err := filepath.Glob(root + "/boot/vmlinuz-*")
	if err != nil || len(found) != 1 {
		t.Fatalf("kernels: %v %v", found, err)
	}
	if err := os.Rename(found[0], v.kernel()); err != nil {
		t.Fatal(err)
	}
	version := strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")
	depmod := exec.Command("/sbin/depmod", version) // as the package does when it is installed
	depmod.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	depmod.Dir = "/"
	if out, err := depmod.CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v: %s", err, out)
	}
}

// writeFiles writes what is this server's own, and undoes what makes the root file system one for containers.
func (v *virtualMachine) writeFiles(t *testing.T, root, hosts string) {
	t.Helper()
	user, _ := newKey(t)
	host, secret := newKey(t)
	v.signer, v.hostKey = user, host.PublicKey()
	units := root + "/etc/systemd/system/"
	for _, name := range []string{
		"systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
		"systemd-modules-load.service",
	} {
		if err := os.Remove(units + name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/lib/systemd/system/systemd-networkd.service", units+"multi-user.target.wants/systemd-networkd.service"); err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	for path, text := range map[string]string{
		"etc/hostname":                 v.name + "\n",
		"etc/machine-id":               fmt.Sprintf("%x\n", id),
		"etc/hosts":                    hosts,
		"etc/resolv.conf":              "# nothing beyond the cluster is reached\n",
		"etc/ssh/ssh_host_ed25519_key": secret,
		"root/.ssh/authorized_keys":    string(ssh.MarshalAuthorizedKey(user.PublicKey())),
		"etc/systemd/network/10-vm.network": fmt.Sprintf("[Match]\nMACAddress=%s\n[Network]\nAddress=%s\n"+
			"DefaultRouteOnDevice=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", vmAddress, v.address),
	} {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "chmod", "-R", "u=rwX,go=rX", root+"/etc/hosts", root+"/etc/hostname", root+"/etc/machine-id", root+"/etc/resolv.conf",
		root+"/etc/systemd/network")
}

func newKey(t *testing.T) (key ssh.Signer, text string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err = ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(block))
}

// makePlug writes the script that joins the link, which the emulator makes, to the bridge.
func (v *virtualMachine) makePlug(t *testing.T, bridge string) {
	t.Helper()
	script := `#!/bin/sh
set -e
echo 1 > "/proc/sys/net/ipv6/conf/$1/disable_ipv6"
ip link set "$1" master ` + bridge + ` up
`
	if err := os.WriteFile(v.plug(), []byte(script), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
}

// boot starts it with a clock that shows this time, and returns when somebody can log in. One start in some 14 comes to
// nothing on an emulated processor; the server gets a second one.
func (v *virtualMachine) boot(t *testing.T, clock time.Time) {
	t.Helper()
	begin := time.Now()
	if err := v.start(t, clock); err != nil {
		t.Logf("%s is started again: %v", v.name, err)
		if err := v.start(t, clock.Add(time.Since(begin))); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
	}
	t.Logf("%s was started in %.1f s", v.name, time.Since(begin).Seconds())
}

func (v *virtualMachine) start(t *testing.T, clock time.Time) error {
	t.Helper()
	v.stop()
	_ = os.Remove(v.console())
	ended := v.emulate(t, clock)
	var size int64
	for progress := time.Now(); time.Since(progress) < vmSilence; time.Sleep(300 * time.Millisecond) {
		if ended.Err() != nil {
			return fmt.Errorf("the emulator has ended: %w\n%s", context.Cause(ended), v.said())
		}
		err := v.connect()
		if err == nil {
			return nil
		}
		// Its key is known: that of another server is not going to be right the next time.
		if info, err := os.Stat(v.console()); err == nil && info.Size() > size {
			size, progress = info.Size(), time.Now()
		}
	}
	v.stop()
	return fmt.Errorf("nobody can log in, and the console has shown nothing new for %v:\n%s", vmSilence, v.said())
}

// said is the end of what is on the console.
func (v *virtualMachine) said() string {
	data, _ := os.ReadFile(v.console())
	return string(data[max(0, len(data)-4000):])
}

// emulate runs the emulator until stop is called. The context that it gives ends with it.
func (v *virtualMachine) emulate(t *testing.T, clock time.Time) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended, end := context.WithCancelCause(context.Background())
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3G", "-no-reboot",
		"-nodefaults", "-display", "none", "-serial", "file:"+v.console(),
		"-rtc", "base="+clock.UTC().Format("2006-01-02T15:04:05"),
		"-kernel", v.kernel(), "-append", "root=/dev/nvme0n1 rootwait rw console=ttyS0 panic=-1",
		"-drive", "id=disk,if=none,format=raw,cache=unsafe,file="+v.disk(), "-device", "nvme,drive=disk,serial=1",
		"-netdev", "tap,id=net,ifname=sl-vm-tap,downscript=no,script="+v.plug(),
		"-device", "virtio-net-pci,netdev=net,mac="+vmAddress)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	go func() {
		runtime.LockOSThread() // the kernel takes the end of this thread for the end of the parent
		defer runtime.UnlockOSThread()
		err := cmd.Run()
		end(fmt.Errorf("%w: %s", errors.Join(err, errEnded), output.String()))
	}()
	v.stop = func() {
		if v.client != nil {
			v.client.Close()
			v.client = nil
		}
		cancel()
		<-ended.Done()
	}
	return ended
}

var errEnded = errors.New("ended")

// connect logs in as root.
func (v *virtualMachine) connect() error {
	const limit = 5 * time.Second
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(v.address.Addr().String(), "22"), limit)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * limit)); err != nil {
		return err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, conn.RemoteAddr().String(), &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(v.signer)}, HostKeyCallback: ssh.FixedHostKey(v.hostKey),
	})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	v.client = ssh.NewClient(c, channels, requests)
	return conn.SetDeadline(time.Time{})
}

// run runs a script as root.
func (v *virtualMachine) run(t testing.TB, script string) result {
	t.Helper()
	session, err := v.client.NewSession()
	if err != nil {
		t.Fatalf("log in to %s: %v\n%s", v.name, err, v.said())
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(t.Context(), vmCommandLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { v.client.Close() })()
	var stdout, stderr bytes.Buffer
	session.Stdout, session.Stderr = &stdout, &stderr
	err = session.Run(script)
	r := result{args: []string{"ssh", v.name, script}, stdout: stdout.String(), stderr: stderr.String()}
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitStatus()
	} else if err != nil {
		t.Fatalf("%v: %v\n%s", r, err, v.said())
	}
	return r
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
}
