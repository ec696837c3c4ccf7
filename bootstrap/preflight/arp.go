package preflight

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// How often a network is asked who has an address, and how long an answer may take: https://www.rfc-editor.org/rfc/rfc5227#section-1.1
// has the same number, and more time between, for hosts that are all started at the same moment.
const (
	arpProbes = 3
	arpWait   = 300 * time.Millisecond
)

// arpPacket is ARP of IPv4 over Ethernet: https://www.rfc-editor.org/rfc/rfc826
type arpPacket struct {
	Hardware, Protocol        uint16
	HardwareSize, AddressSize uint8
	Operation                 uint16
	Sender                    [6]byte
	SenderAddress             [4]byte
	Target                    [6]byte
	TargetAddress             [4]byte
}

const arpRequest = 1

// holderOf asks the hosts on a link who has an address, and gives the hardware address of one that does. Nobody learns
// anything by it: the question comes from no address, as from a host that is about to take one.
func holderOf(ctx context.Context, l net.Interface, a netip.Addr) (net.HardwareAddr, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(bigEndian(unix.ETH_P_ARP)))
	if err != nil {
		return nil, fmt.Errorf("open a socket for ARP: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: l.Index}); err != nil {
		return nil, fmt.Errorf("listen for ARP: %w", err)
	}
	question := arpPacket{
		Hardware: unix.ARPHRD_ETHER, Protocol: unix.ETH_P_IP, HardwareSize: 6, AddressSize: 4, Operation: arpRequest, TargetAddress: a.As4(),
	}
	copy(question.Sender[:], l.HardwareAddr)
	all := &unix.SockaddrLinklayer{
		Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: l.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255},
	}
	for range arpProbes {
		var packet bytes.Buffer
		if err := binary.Write(&packet, binary.BigEndian, question); err != nil {
			return nil, err
		}
		if err := unix.Sendto(fd, packet.Bytes(), 0, all); err != nil {
			return nil, fmt.Errorf("ask by ARP: %w", err)
		}
		holder, err := arpAnswer(ctx, fd, a)
		if err != nil || holder != nil {
			return holder, err
		}
	}
	return nil, nil
}

// arpAnswer waits a while for any packet that is from the address.
func arpAnswer(ctx context.Context, fd int, a netip.Addr) (net.HardwareAddr, error) {
	ctx, cancel := context.WithTimeout(ctx, arpWait)
	defer cancel()
	for until, _ := ctx.Deadline(); ctx.Err() == nil; {
		left := unix.NsecToTimeval(max(time.Until(until), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left); err != nil {
			return nil, fmt.Errorf("listen for ARP: %w", err)
		}
		buf := make([]byte, 128)
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listen for ARP: %w", err)
		}
		var answer arpPacket
		if err := binary.Read(bytes.NewReader(buf[:n]), binary.BigEndian, &answer); err == nil && answer.SenderAddress == a.As4() {
			return answer.Sender[:], nil
		}
	}
	return nil, nil
}

// bigEndian is a number as packet sockets want it.
func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}
