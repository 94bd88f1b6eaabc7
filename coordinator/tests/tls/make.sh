#!/bin/sh
# Makes the certificates of the tests again: two authorities, and a server's certificate signed by the first. They guard nothing.
set -eu
cd "$(dirname "$0")"
for ca in ca other-ca; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 36500 -subj "/CN=Mica test $ca" -keyout $ca.key -out $ca.pem
done
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj "/CN=Mica test server" -keyout server.key -out server.csr
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 36500 -extfile server.ext -out server.pem
rm -f ca.key other-ca.key server.csr server.ext ca.srl
