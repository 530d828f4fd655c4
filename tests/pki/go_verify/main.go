// Verifies a certificate as Go's TLS clients do: verify ROOTS CHAIN LEAF UNIX-TIME.
// Exit status 0 if it is taken; else the reason is on stderr.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"time"
)

func certs(path string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found, nil
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
}

func pool(path string) (*x509.CertPool, error) {
	found, err := certs(path)
	all := x509.NewCertPool()
	for _, one := range found {
		all.AddCert(one)
	}
	return all, err
}

func run(args []string) error {
	roots, err := pool(args[0])
	if err != nil {
		return err
	}
	chain, err := pool(args[1])
	if err != nil {
		return err
	}
	leaf, err := certs(args[2])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return err
	}
	_, err = leaf[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: chain, CurrentTime: time.Unix(seconds, 0),
	})
	return err
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
