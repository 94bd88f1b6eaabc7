package main

import (
	"fmt"
	"os"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"

	// The plugins that config/Corefile uses, and no other: CoreDNS's own list would double the code to build.
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// serveNames answers DNS queries for the cluster's Services as a Corefile says, until it is killed.
func serveNames(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("usage: coredns COREFILE")
	}
	corefile, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	caddy.Quiet, dnsserver.Quiet = true, true
	server, err := caddy.Start(caddy.CaddyfileInput{Filepath: arguments[0], Contents: corefile, ServerTypeName: "dns"})
	if err != nil {
		return err
	}
	server.Wait()
	return nil
}
