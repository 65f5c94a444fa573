# edge-app@.service, for several daemons on one machine, is edge-app.service but for these lines. `sudo make install`
# places what `sed -f template.sed edge-app.service` makes.
s|/etc/edge-app/edge\.yaml|/etc/edge-app/%i.yaml|
s|^Description=.*|& (%i)|
