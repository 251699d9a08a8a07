# Looks at every URL given with REDbot, and writes one line of JSON each: what it notes of the answer, and of those that its
# own questions (conditions, a part, another coding) get.
import json
import sys
from configparser import ConfigParser

import thor
from redbot.resource import HttpResource

parser = ConfigParser()
parser.read_dict({'redbot': {'enable_local_access': 'True'}})


def notes(response):
    for note in response.notes:
        for one in [note, *note.subnotes]:
            yield {'level': one.level.value, 'name': type(one).__name__, 'says': one.summary}


def look(urls):
    if not urls:
        return thor.stop()
    resource = HttpResource(parser['redbot'])
    resource.set_request(urls[0])

    def done():
        answers = [resource, *resource.subreqs.values()]
        print(json.dumps({
            'url': urls[0],
            'error': resource.fetch_error and str(resource.fetch_error.desc),
            'status': resource.response.status_code,
            'notes': [note for answer in answers for note in notes(answer.response)],
        }), flush=True)
        look(urls[1:])

    resource.on('check_done', done)
    resource.check()


look(sys.argv[1:])
thor.run()
