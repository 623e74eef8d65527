// SPDX-License-Identifier: Apache-2.0
//
// Servers: they print "port N" and serve until they are killed; the driver measures their CPU time from outside.
package main

import (
	"fmt"
	"net"
	"net/http"
)

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("port %d\n", listener.Addr().(*net.TCPAddr).Port)
	return listener
}

func echo(c context) {
	for listener := listen(); ; {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer connection.Close()
			buffer := make([]byte, 4096)
			for {
				n, err := connection.Read(buffer)
				if err != nil {
					return
				}
				if _, err = connection.Write(buffer[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func httpPlaintext(c context) {
	body := []byte("Hello, World!")
	http.Serve(listen(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(body)
	}))
}
