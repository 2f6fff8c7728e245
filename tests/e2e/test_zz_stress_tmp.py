import random, signal, time
from pathlib import Path
import pytest
from tests.e2e.live_objects import Namespace
from tests.e2e.machine import Machine
from tests.e2e.releases import *

@pytest.mark.parametrize("n", range(30))
def test_stress(n, tmp_path, control_plane, namespace):
    place=Namespace(control_plane, namespace)
    releases=Releases(tmp_path/"r", {"default": namespace})
    m=Machine(tmp_path/"empty", ("--kubeconfig", str(control_plane.kubeconfig)))
    releases.publish("v1.0.0", *[deployment(f"cart-{i}", "unready:1") for i in range(4)], *[config_map(f"settings-{i}") for i in range(20)], job("m","m:1"))
    r=m.started(releases("v1.0.0"))
    from tests.e2e.live_objects import until
    until(lambda: place.lock_holder(), "lock")
    time.sleep(random.random()*1.5)
    r.process.send_signal(random.choice([signal.SIGTERM, signal.SIGINT]))
    out,err=r.process.communicate(timeout=100)
    assert r.process.returncode in (130,143), err
    assert "Traceback" not in err, err
    assert place.lock_holder()=="", err
    assert [x["status"] for x in place.revisions()] in (["interrupted"],[]), (place.revisions(),err)
