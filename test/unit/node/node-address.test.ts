import { describe, expect, test } from 'vitest';
import { parseNodeAddress } from '../../../src/node/node-address.ts';

describe('where a new node is', () => {
  test.each([
    ['host=d port=7004', { host: 'd', port: 7304, conninfo: 'host=d port=7004' }],
    [' dbname=app  host = d user=u ', { host: 'd', port: 5732, conninfo: 'dbname=app host=d user=u' }],
    ['host=d port=7004 peer=9000', { host: 'd', port: 9000, conninfo: 'host=d port=7004' }],
    ['host=d port=7004 peer=inner:9000', { host: 'inner', port: 9000, conninfo: 'host=d port=7004' }],
    ["host='d' port=7004 peer='[::1]:9000'", { host: '::1', port: 9000, conninfo: 'host=d port=7004' }],
    ["host=d dbname='it\\'s'", { host: 'd', port: 5732, conninfo: "host=d dbname='it\\'s'" }],
    ['postgresql://u@d:7004/app', { host: 'd', port: 7304, conninfo: 'host=d port=7004 dbname=app' }],
    ['postgres://d:7004/?peer=e:1', { host: 'e', port: 1, conninfo: 'host=d port=7004' }],
  ])('%s', (text, address) => {
    expect(parseNodeAddress(text, 300)).toEqual(address);
  });

  test.each([
    ['', /is not of the form/],
    ['d:7004', /is not of the form/],
    ['host=d password=x', /everybody could read it/],
    ['postgres://u:secret@d/app', /everybody could read it/],
    ['host=d porrt=1', /"porrt" is not known/],
    ['port=7004', /host must name/],
    ['host=/tmp', /host must name/],
    ['host=a,b', /host must name/],
    ['host=d port=0', /port must be/],
    ['host=d port=70000', /port must be/],
    ['host=d port=65535', /peer must be/],
    ['host=d peer=x', /peer must be/],
    ["host='d", /is not of the form/],
  ])('%s is refused', (text, reason) => {
    const answer = parseNodeAddress(text, 300);
    expect(answer).toMatch(reason);
    expect(answer).not.toMatch(/secret/);
  });
});
