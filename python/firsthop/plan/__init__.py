"""How much a fleet needs: figures per region, each with the measurements that it rests on."""
