import { expect, test } from 'vitest';
import { Floors } from '../../../../src/core/node/floors.ts';
import { stampOf } from '../../../../src/core/node/machines.ts';

test('a syncpoint is passed when every origin is beyond what was seen of it', () => {
  const floors = new Floors(5);
  floors.seen('mtm:1:5:1:7');
  floors.seen('mtm:2:5:1:3');
  floors.seen('mtm:3:4:1:99'); // of another generation
  const syncpoint = floors.take();
  expect(floors.passed(syncpoint)).toBeUndefined();
  floors.told(1, 5, 8);
  floors.told(2, 5, 3); // its counter 3 is not finished everywhere
  expect(floors.passed(syncpoint)).toBeUndefined();
  floors.seen('mtm:2:5:1:9'); // came later: it does not hold up what was taken before
  floors.told(2, 5, 4);
  expect(floors.passed(syncpoint)).toEqual(
    new Map([
      [1, 8],
      [2, 4],
    ]),
  );
});

test('what was announced out of order holds it up: only the origin knows its lowest', () => {
  const floors = new Floors(5);
  floors.seen('mtm:2:5:1:8');
  floors.told(2, 5, 6);
  expect(floors.passed(floors.take())).toBeUndefined();
});

test('floors never sink, and those of another generation do not count', () => {
  const floors = new Floors(5);
  floors.seen('mtm:2:5:1:8');
  floors.told(2, 6, 99);
  floors.told(2, 5, 9);
  floors.told(2, 5, 4);
  expect(floors.passed(floors.take())).toEqual(new Map([[2, 9]]));
  expect(new Floors(6).passed(floors.take())).toBeUndefined();
});

test('the own floor is the lowest that is open, or behind the last', () => {
  const floors = new Floors(5);
  floors.seen('mtm:1:5:1:4');
  const syncpoint = floors.take();
  floors.ownFloor(1, ['mtm:1:5:1:4', 'mtm:2:5:1:1']);
  expect(floors.passed(syncpoint)).toBeUndefined();
  floors.ownFloor(1, ['mtm:2:5:1:1']);
  expect(floors.passed(syncpoint)).toEqual(new Map([[1, 5]]));
});

test.each([
  ['mtm:1:5:2:7', 5],
  ['mtm:64:900000000000:2:7', 900_000_000_000],
  ['mtm:1:x:2:7', 0],
  ['something else', 0],
  ['', 0],
])('the stamp of %s', (gid, stamp) => {
  expect(stampOf(gid)).toBe(stamp);
});
