/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: cc_v144
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Table structure for table `configuration`
--

DROP TABLE IF EXISTS `configuration`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `configuration` (
  `username` varchar(255) NOT NULL,
  `confkey` varchar(255) NOT NULL,
  `value` text DEFAULT NULL,
  PRIMARY KEY (`username`,`confkey`),
  CONSTRAINT `configuration_ibfk_1` FOREIGN KEY (`username`) REFERENCES `hpc_user` (`username`) ON DELETE CASCADE ON UPDATE NO ACTION
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `configuration`
--

LOCK TABLES `configuration` WRITE;
/*!40000 ALTER TABLE `configuration` DISABLE KEYS */;
/*!40000 ALTER TABLE `configuration` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `hpc_user`
--

DROP TABLE IF EXISTS `hpc_user`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `hpc_user` (
  `username` varchar(255) NOT NULL,
  `password` varchar(255) DEFAULT NULL,
  `ldap` tinyint(4) NOT NULL DEFAULT 0,
  `name` varchar(255) DEFAULT NULL,
  `roles` varchar(255) NOT NULL DEFAULT '[]',
  `email` varchar(255) DEFAULT NULL,
  `projects` varchar(255) NOT NULL DEFAULT '[]',
  PRIMARY KEY (`username`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `hpc_user`
--

LOCK TABLES `hpc_user` WRITE;
/*!40000 ALTER TABLE `hpc_user` DISABLE KEYS */;
INSERT INTO `hpc_user` (`username`, `password`, `ldap`, `name`, `roles`, `email`, `projects`) VALUES ('ada','$2a$10$KFLMkQjidaI.1A3fcuqD1.mYymm7TUw0j3M.2FSvxFuhzLTtvo24W',0,'Ada \'A.\' \\ \"L\" ü','[\"admin\",\"user\"]','ada@example.org','[]');
INSERT INTO `hpc_user` (`username`, `password`, `ldap`, `name`, `roles`, `email`, `projects`) VALUES ('max',NULL,1,NULL,'[\"manager\"]',NULL,'[\"bio\",\"chem\"]');
/*!40000 ALTER TABLE `hpc_user` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `job`
--

DROP TABLE IF EXISTS `job`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `job` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `job_id` bigint(20) NOT NULL,
  `cluster` varchar(50) DEFAULT NULL,
  `subcluster` varchar(50) DEFAULT NULL,
  `start_time` bigint(20) NOT NULL,
  `hpc_user` varchar(50) DEFAULT NULL,
  `project` varchar(50) DEFAULT NULL,
  `cluster_partition` varchar(50) DEFAULT NULL,
  `array_job_id` bigint(20) DEFAULT NULL,
  `duration` int(11) NOT NULL DEFAULT 0,
  `walltime` int(11) NOT NULL DEFAULT 0,
  `job_state` varchar(25) DEFAULT NULL,
  `meta_data` text DEFAULT NULL,
  `resources` text NOT NULL,
  `num_nodes` int(11) NOT NULL,
  `num_hwthreads` int(11) DEFAULT NULL,
  `num_acc` int(11) DEFAULT NULL,
  `smt` tinyint(4) NOT NULL DEFAULT 1 CHECK (`smt` in (0,1)),
  `exclusive` tinyint(4) NOT NULL DEFAULT 1 CHECK (`exclusive` in (0,1,2)),
  `monitoring_status` tinyint(4) NOT NULL DEFAULT 1 CHECK (`monitoring_status` in (0,1,2,3)),
  `energy` double NOT NULL DEFAULT 0,
  `energy_footprint` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`energy_footprint`)),
  `footprint` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`footprint`)),
  PRIMARY KEY (`id`),
  UNIQUE KEY `job_id` (`job_id`,`cluster`,`start_time`)
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `job`
--

LOCK TABLES `job` WRITE;
/*!40000 ALTER TABLE `job` DISABLE KEYS */;
INSERT INTO `job` (`id`, `job_id`, `cluster`, `subcluster`, `start_time`, `hpc_user`, `project`, `cluster_partition`, `array_job_id`, `duration`, `walltime`, `job_state`, `meta_data`, `resources`, `num_nodes`, `num_hwthreads`, `num_acc`, `smt`, `exclusive`, `monitoring_status`, `energy`, `energy_footprint`, `footprint`) VALUES (1,1,'emmy','haswell',1790000001,'u1','bio','main',NULL,0,3600,'running','{\"jobName\": \"it\'s\", \"jobScript\": \"#!/bin/bash\\n# it\'s a \\\"test\\\": C:\\\\n, 100 %_ ü 🦉\\n\');\\nINSERT INTO `job` VALUES (1);\\n\\u001a\"}','[{\"hostname\":\"n01\",\"hwthreads\":[0,1]}]',1,NULL,0,1,1,1,0,NULL,NULL);
INSERT INTO `job` (`id`, `job_id`, `cluster`, `subcluster`, `start_time`, `hpc_user`, `project`, `cluster_partition`, `array_job_id`, `duration`, `walltime`, `job_state`, `meta_data`, `resources`, `num_nodes`, `num_hwthreads`, `num_acc`, `smt`, `exclusive`, `monitoring_status`, `energy`, `energy_footprint`, `footprint`) VALUES (2,2,'emmy','haswell',1790000002,'u1','bio','main',NULL,60,3600,'completed',NULL,'[{\"hostname\":\"n01\",\"hwthreads\":[0,1]}]',1,NULL,0,1,1,1,0,NULL,NULL);
INSERT INTO `job` (`id`, `job_id`, `cluster`, `subcluster`, `start_time`, `hpc_user`, `project`, `cluster_partition`, `array_job_id`, `duration`, `walltime`, `job_state`, `meta_data`, `resources`, `num_nodes`, `num_hwthreads`, `num_acc`, `smt`, `exclusive`, `monitoring_status`, `energy`, `energy_footprint`, `footprint`) VALUES (3,3,'emmy','haswell',1790000003,'u1','bio',NULL,NULL,60,3600,'failed','','[{\"hostname\":\"n01\",\"hwthreads\":[0,1]}]',1,NULL,0,1,1,2,0,NULL,NULL);
INSERT INTO `job` (`id`, `job_id`, `cluster`, `subcluster`, `start_time`, `hpc_user`, `project`, `cluster_partition`, `array_job_id`, `duration`, `walltime`, `job_state`, `meta_data`, `resources`, `num_nodes`, `num_hwthreads`, `num_acc`, `smt`, `exclusive`, `monitoring_status`, `energy`, `energy_footprint`, `footprint`) VALUES (4,4,'emmy','haswell',1790000004,'u1','bio','main',NULL,60,3600,'completed',NULL,'[{\"hostname\":\"n01\",\"hwthreads\":[0,1]}]',1,NULL,0,1,1,3,0,NULL,NULL);
/*!40000 ALTER TABLE `job` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `jobtag`
--

DROP TABLE IF EXISTS `jobtag`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `jobtag` (
  `job_id` int(11) NOT NULL,
  `tag_id` int(11) NOT NULL,
  `insert_time` timestamp NULL DEFAULT current_timestamp(),
  PRIMARY KEY (`job_id`,`tag_id`),
  KEY `tag_id` (`tag_id`),
  CONSTRAINT `jobtag_ibfk_1` FOREIGN KEY (`job_id`) REFERENCES `job` (`id`) ON DELETE CASCADE,
  CONSTRAINT `jobtag_ibfk_2` FOREIGN KEY (`tag_id`) REFERENCES `tag` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `jobtag`
--

LOCK TABLES `jobtag` WRITE;
/*!40000 ALTER TABLE `jobtag` DISABLE KEYS */;
INSERT INTO `jobtag` (`job_id`, `tag_id`, `insert_time`) VALUES (1,7,'2026-09-21 10:00:00');
/*!40000 ALTER TABLE `jobtag` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `tag`
--

DROP TABLE IF EXISTS `tag`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `tag` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `tag_type` varchar(255) NOT NULL,
  `tag_name` varchar(255) NOT NULL,
  `insert_time` timestamp NULL DEFAULT current_timestamp(),
  `tag_scope` text NOT NULL DEFAULT 'global',
  PRIMARY KEY (`id`),
  UNIQUE KEY `tag_type` (`tag_type`,`tag_name`)
) ENGINE=InnoDB AUTO_INCREMENT=8 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `tag`
--

LOCK TABLES `tag` WRITE;
/*!40000 ALTER TABLE `tag` DISABLE KEYS */;
INSERT INTO `tag` (`id`, `tag_type`, `tag_name`, `insert_time`, `tag_scope`) VALUES (7,'perf','bad; (really)','2026-09-21 10:00:00','global');
/*!40000 ALTER TABLE `tag` ENABLE KEYS */;
UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-29  9:13:41
