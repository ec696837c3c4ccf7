package main

import (
	"fmt"
	"net"
)

// listenUDP answers each packet with the pod's name.
func listenUDP(address, name string) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	go func() {
		packet := make([]byte, 512)
		for {
			_, from, err := conn.ReadFrom(packet)
			if err != nil {
				return // it was closed
			}
			fmt.Println("packet from", from)
			_, _ = conn.WriteTo([]byte(name+"\n"), from)
		}
	}()
	return conn, nil
}
