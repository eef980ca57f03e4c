/** Sequelize's models: sync and alter from both nodes, associations, upserts, findOrCreate (a function of its own). */
import { DataTypes, Op, type ModelStatic, type Model, type Sequelize } from 'sequelize';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Row } from './driver.ts';
import type { Site } from './duties.ts';
import { openSequelize } from './sequelize.ts';

type Rows = ModelStatic<Model<Row, Row>>;

interface Shop {
  readonly db: Sequelize;
  readonly Buyer: Rows;
  readonly Order: Rows;
}

function models(db: Sequelize, more: object = {}): Shop {
  const Buyer: Rows = db.define('Buyer', {
    name: { type: DataTypes.STRING(80), allowNull: false, unique: 'buyer_name' },
    level: { type: DataTypes.ENUM('low', 'high'), defaultValue: 'low' },
    tags: { type: DataTypes.ARRAY(DataTypes.TEXT), defaultValue: [] },
    about: DataTypes.JSONB,
    points: { type: DataTypes.INTEGER, defaultValue: 0 },
    ...more,
  });
  const Order: Rows = db.define(
    'Order',
    {
      id: { type: DataTypes.UUID, defaultValue: DataTypes.UUIDV4, primaryKey: true },
      price: DataTypes.DECIMAL(10, 2),
    },
    { version: true, paranoid: true, indexes: [{ fields: ['price'] }] },
  );
  Buyer.hasMany(Order, { as: 'orders', foreignKey: 'buyer', onDelete: 'CASCADE' });
  Order.belongsTo(Buyer, { as: 'by', foreignKey: 'buyer' });
  return { db, Buyer, Order };
}

export function sequelizeModels(site: Site): void {
  let [first, second] = [] as unknown as [Shop, Shop];
  beforeAll(() => {
    first = models(openSequelize(site.access(1), 3));
    second = models(openSequelize(site.access(2), 3), { note: DataTypes.TEXT });
  });
  afterAll(async () => {
    await Promise.all([first?.db.close(), second?.db.close()]);
  });
  const plain = async (found: Promise<Model | Model[] | null>): Promise<unknown> => {
    const all = await found;
    return Array.isArray(all) ? all.map((one) => one.get({ plain: true })) : all?.get({ plain: true });
  };

  test('sync makes the tables, alter changes them from the other node', async () => {
    await first.db.sync({ force: true });
    await second.db.sync({ alter: true });
    await first.db.sync();
    const columns = await first.db.getQueryInterface().describeTable('Buyers');
    expect(Object.keys(columns)).toContain('note');
  });

  test('rows in bulk, upsert, findOrCreate, increment, versions', async () => {
    const names = Array.from({ length: 200 }, (_, n) => ({
      name: `buyer ${n}`,
      tags: [`t${n}`],
      about: { n },
    }));
    await first.Buyer.bulkCreate(names);
    await second.Buyer.upsert({ name: 'buyer 7', level: 'high' }, { conflictFields: ['name'] });
    const tried = [];
    for (const { Buyer } of [first, second, first])
      tried.push((await Buyer.findOrCreate({ where: { name: 'new one' }, defaults: { points: 3 } }))[1]);
    expect(tried).toEqual([true, false, false]);
    await second.Buyer.increment('points', { by: 4, where: { name: { [Op.in]: ['new one', 'buyer 7'] } } });
    const found = first.Buyer.findAll({
      where: { points: { [Op.gt]: 0 } },
      attributes: ['name', 'level', 'points'],
      order: ['name'],
    });
    expect(await plain(found)).toEqual([
      { name: 'buyer 7', level: 'high', points: 4 },
      { name: 'new one', level: 'low', points: 7 },
    ]);
    const order = await first.Order.create({ price: '12.50' });
    const same = await second.Order.findByPk(order.get('id') as string);
    await same!.update({ price: '13.50' });
    await expect(order.update({ price: '14.50' })).rejects.toThrow(/stale/);
    await same!.destroy();
    expect([await first.Order.count(), await first.Order.count({ paranoid: false })]).toEqual([0, 1]);
  });

  test('what belongs together in one transaction, row locks, cascades', async () => {
    const made = await first.db.transaction(async (transaction) => {
      const [buyer] = await first.Buyer.findAll({ where: { name: 'buyer 1' }, lock: true, transaction });
      await first.Order.bulkCreate(
        [1, 2, 3].map((price) => ({ price, buyer: buyer!.get('id') })),
        { transaction },
      );
      return buyer!;
    });
    const rows = second.Buyer.findOne({
      where: { name: 'buyer 1' },
      include: [{ association: 'orders', where: { price: { [Op.gte]: 2 } } }],
    });
    expect(((await plain(rows)) as { orders: unknown[] }).orders).toHaveLength(2);
    await second.Buyer.destroy({ where: { id: made.get('id') as number } });
    expect(await first.Order.count()).toBe(0);
  });

  test('errors are its own kinds', async () => {
    await expect(first.Buyer.create({ name: 'buyer 2' })).rejects.toMatchObject({
      name: 'SequelizeUniqueConstraintError',
      fields: { name: 'buyer 2' },
    });
    await expect(second.Order.create({ price: 1, buyer: 0 })).rejects.toMatchObject({
      name: 'SequelizeForeignKeyConstraintError',
      table: 'Orders',
    });
  });
}
